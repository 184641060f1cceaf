"""Checks of what a person needs beside a sandbox: packages, a front end, rules, a way to say yes.

Part of ``jupyter keyless doctor``, called by :mod:`keyless.cli.checks`.
"""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from jupyter_core.paths import jupyter_config_path, jupyter_runtime_dir
from traitlets.config import Config

from keyless.cli import privileged
from keyless.cli.check import Check
from keyless.cli.policy import policy_arguments
from keyless.control_client import kernels
from keyless_kernel.confine.settings import policy_file

__all__ = ["aws_fix", "extras", "front_end", "packages", "policy", "questions", "vault_fix"]

#: Extras of the distribution: modules, and what they are for.
_EXTRAS = {
    "run": (("nbclient", "tqdm"), "jupyter keyless run"),
    "pandas": (("pandas",), "DataFrames from answers"),
    "mcp": (("mcp",), "jupyter keyless mcp"),
    "keyring": (("keyring",), "values from the system's keyring"),
    "openbao": (("hvac",), "values from OpenBao and HashiCorp Vault"),
    "demo": (("moto", "nbconvert"), "jupyter keyless demo"),
}
_FRONT_ENDS = ("jupyterlab", "notebook")
_EXTENSION = "keyless.server"
_NAME = re.compile(r"[\w.-]+")


def packages() -> Check:
    """Whether all that Keyless itself imports is installed (boto3, cedarpy, …)."""
    try:
        asked = [each for each in requires("keyless") or () if "extra ==" not in each]
        found = version("keyless")
    except PackageNotFoundError:
        return Check("packages", "failed", "keyless itself isn't installed", "pip install .")
    names = [match[0] for each in asked if (match := _NAME.match(each))]
    missing = [name for name in names if not _installed(name)]
    if missing:
        detail = f"missing: {', '.join(missing)}"
        return Check("packages", "failed", detail, f"pip install {' '.join(missing)}")
    return Check("packages", "ok", f"keyless {found} and the {len(names)} that it needs")


def extras() -> Check:
    """Which optional parts could be used, and how to get the others."""
    missing = {
        name: purpose
        for name, (modules, purpose) in _EXTRAS.items()
        if not all(find_spec(module) for module in modules)
    }
    if not missing:
        return Check("optional parts", "ok", ", ".join(_EXTRAS))
    parts = ", ".join(f"{name} ({purpose})" for name, purpose in missing.items())
    fix = f"if you want them: pip install 'keyless[{','.join(missing)}]'"
    return Check("optional parts", "note", f"not installed: {parts}", fix)


def front_end() -> Check:
    """Whether there is something here to open a notebook with, and whether it shows our part."""
    name = "front end"
    found = [each for each in _FRONT_ENDS if find_spec(each)]
    if not found:
        return Check(
            name,
            "note",
            "neither JupyterLab nor Notebook in this environment",
            "pip install jupyterlab (one elsewhere finds the kernel by JUPYTER_PATH)",
        )
    detail = f"{found[0]} {version(found[0])}: jupyter {_verb(found[0])}"
    if not _server_extension():
        return Check(
            name,
            "note",
            f"{detail}; the server extension is off, so pages show no questions and no levels",
            f"jupyter server extension enable {_EXTENSION}",
        )
    return Check(name, "ok", f"{detail}, with level and questions in its status bar")


def policy(config: Config) -> Check:
    """Which rules are in force, and whether they can be used."""
    try:
        answer = privileged.ask("policy", [*policy_arguments(config), "check"], config)
    except subprocess.TimeoutExpired:
        return Check("policy", "failed", "the check doesn't end")
    lines = (answer.stdout.strip() or answer.stderr.strip()).splitlines()
    detail = lines[-1].removeprefix("✓ ") if lines else "the check says nothing"
    if answer.returncode:
        errors = answer.stderr.strip().splitlines()
        fix = "jupyter keyless policy check says all; no kernel starts before it is right"
        return Check("policy", "failed", errors[0] if errors else detail, fix)
    if answer.stderr.strip():
        return Check("policy", "note", detail, "jupyter keyless policy check has warnings")
    built_in = not policy_file().exists()
    fix = "to have your own rules: jupyter keyless policy init" if built_in else ""
    return Check("policy", "ok", detail, fix)


def questions(config: Config) -> Check:
    """Where kernels ask a person, and how to answer."""
    folder = Path(jupyter_runtime_dir())
    name = "approvals"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = folder.stat().st_mode
    except OSError as error:
        detail = f"the control sockets' folder {folder} can't be made: {error.strerror}"
        return Check(name, "failed", detail, "set JUPYTER_RUNTIME_DIR to a folder of yours")
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        detail = f"others may write in {folder}, where the control sockets are"
        return Check(name, "note", detail, f"chmod 700 {folder}")
    running = len(kernels(folder))
    kernel = f"{running} kernel{'s run' if running != 1 else ' runs'}"
    waits = "Approvals" in config and bool(config.Approvals.get("terminal", False))
    how = (
        "questions wait for jupyter keyless approve"
        if waits
        else "questions wait while jupyter keyless pending --watch runs, else they are denied"
    )
    return Check(name, "ok", f"{kernel}; {how}")


def vault_fix() -> str:
    """How to store a first credential: from the AWS profile, if there is one."""
    profiles = Path.home() / ".aws" / "credentials"
    start = "jupyter keyless vault add aws"
    return (
        f"{start} --from-profile default" if profiles.is_file() else f"{start}  (asks for the key)"
    )


def aws_fix() -> str:
    """How to get the AWS CLI to where Keyless looks for it first."""
    if sys.prefix == sys.base_prefix:
        return "apt-get install awscli"
    place = f"{sys.prefix}-aws"
    return f"python3 -m venv {place} && {place}/bin/pip install awscli"


def _server_extension() -> bool:
    # Late: it comes with a front end.
    from jupyter_server.extension.config import ExtensionConfigManager

    manager = ExtensionConfigManager(read_config_path=jupyter_config_path())
    return bool(manager.enabled(_EXTENSION))


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _verb(front_end: str) -> str:
    return "lab" if front_end == "jupyterlab" else front_end
