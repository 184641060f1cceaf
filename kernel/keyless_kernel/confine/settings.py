"""Configuration, read once on the trusted side, and what of it the sidecar is given.

``jupyter_keyless_config.py`` is evaluated by the provisioner (or the command line), never by the
sidecar, which gets plain values over a descriptor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from jupyter_core.paths import jupyter_config_dir, jupyter_config_path, jupyter_data_dir
from traitlets.config import Config
from traitlets.config.loader import JSONFileConfigLoader, PyFileConfigLoader

from keyless_kernel.confine.errors import ConfigError

CONFIG_NAME = "jupyter_keyless_config"
#: Sections that only the Jupyter server's extension reads; no sidecar is told of them.
SERVER_SECTIONS = ("Hygiene", "Server")
SECTIONS = (
    *("Approvals", "Audit", "Confinement", "Egress", "Limits", "Tools", "Vault"),
    *SERVER_SECTIONS,
)


class MemoryCredential(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A credential that a host registers for one kernel; it is never written down."""

    name: str
    kind: str
    fields: dict[str, str]
    tools: list[str] = []
    #: Empty: the kind's default.
    delivery: str = ""
    #: Where it may be sent, for tokens: hosts, path prefixes, places in a request.
    hosts: list[str] = []
    paths: list[str] = []
    places: list[str] = []
    #: Path below the tool's HOME, for delivery ``file``.
    file: str = ""

    def __repr__(self) -> str:
        return f"MemoryCredential({self.name!r}, {self.kind!r})"


class Found(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What :func:`keyless_kernel.confine.probe` found, for who would find the same again.

    Between trusted processes only, and never by an environment: whoever says it, decides.
    """

    #: One of :data:`keyless_kernel.confine.levels.LEVELS`.
    level: str
    #: Whether overlays work.
    overlay: bool


class SidecarSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that a sidecar is told when it starts, as JSON on a descriptor."""

    kernel_id: str
    #: Host path of the workspace.
    workspace: str
    #: Host path of a private folder, removed at the end.
    scratch: str
    #: ``<jupyter data dir>/keyless``: vault and audit.
    data_dir: str
    #: ``<jupyter config dir>/keyless/policy.cedar``, whether it is there or not.
    policy_file: str
    #: Host path of the private folder for control socket and token; empty: there are none.
    control_folder: str = ""
    #: Path of the notebook, where the server says it.
    notebook: str = ""
    config: dict[str, dict[str, Any]] = {}
    memory_credentials: list[MemoryCredential] = []
    passphrase: str | None = None
    #: What the supervisor found out about confinement; without it the sidecar finds out itself.
    found: Found | None = None

    def __repr__(self) -> str:
        return f"SidecarSettings({self.kernel_id!r})"


class KernelNetwork(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sidecar that gives its kernel a way to a network says of it, before the kernel starts.

    Nothing in it is a secret: placeholders, addresses, and the certificate of its own authority.
    """

    #: Ports that the launcher listens on, on the sandbox's own loopback, in this order.
    ports: list[int] = []
    environment: dict[str, str] = {}
    #: Path inside and text of read-only files.
    files: dict[str, str] = {}


def data_dir() -> Path:
    """Where vault and audit live (not made here)."""
    return Path(jupyter_data_dir()) / "keyless"


def policy_file() -> Path:
    """Where a person's policy lies; without the file the built-in one is in force."""
    return Path(jupyter_config_dir()) / "keyless" / "policy.cedar"


def load_config(
    paths: list[str] | None = None, *, more: Mapping[str, Mapping[str, Any]] | None = None
) -> Config:
    """Every ``jupyter_keyless_config.py`` and ``.json`` on the Jupyter config path, merged.

    Args:
        paths: folders, most important first; default: Jupyter's own, never the working folder.
        more: what a host program sets on top of the files.

    Raises:
        ConfigError: a file doesn't evaluate or names an unknown section.
    """
    config = Config()
    for folder in reversed(jupyter_config_path() if paths is None else paths):
        for suffix, loader in ((".json", JSONFileConfigLoader), (".py", PyFileConfigLoader)):
            file = Path(folder) / (CONFIG_NAME + suffix)
            if not file.is_file():
                continue
            try:
                config.merge(loader(file.name, path=folder).load_config())
            except (Exception, SystemExit) as error:
                raise ConfigError(
                    f"{file} can't be used: {type(error).__name__}: {error}"
                ) from error
    config.merge(Config({name: dict(section) for name, section in (more or {}).items()}))
    unknown = sorted(set(config) - set(SECTIONS))
    if unknown:
        raise ConfigError(
            f"unknown section c.{unknown[0]} in {CONFIG_NAME} (known: {', '.join(SECTIONS)})"
        )
    return config


def plain(config: Config) -> dict[str, dict[str, Any]]:
    """The sidecar's part of the configuration as plain JSON values, for the settings' descriptor.

    Raises:
        ConfigError: a value has no JSON form.
    """
    try:
        values: dict[str, dict[str, Any]] = json.loads(
            json.dumps({name: dict(config[name]) for name in config if name not in SERVER_SECTIONS})
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{CONFIG_NAME}: only plain values are possible ({error})") from error
    return values
