"""What an operator may set for the sidecar: traitlets sections behind the settings' plain values.

The provisioner evaluates ``jupyter_keyless_config.py`` and sends the values; :func:`build` checks
them when :mod:`keyless_sidecar.server` starts.  Whatever is unknown or of the wrong type stops the
start.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from traitlets import Any as AnyTrait
from traitlets import Bool, Dict, Float, Integer, Unicode
from traitlets.config import Configurable

from keyless_kernel.confine import ConfigError, Confinement
from keyless_kernel.confine.config import section_from
from keyless_kernel.confine.limits import Limits
from keyless_sidecar.execution.destinations import BadDestination, parse_authority, parse_url
from keyless_sidecar.vault.os_keyring import OsKeyring
from keyless_sidecar.vault.surroundings import Surroundings, person_home

__all__ = [
    "Approvals",
    "Audit",
    "ConfigInvalid",
    "Configuration",
    "Egress",
    "Tools",
    "Vault",
    "build",
]


class ConfigInvalid(Exception):
    """The configuration can't be used; the message is one sentence."""


class Vault(Configurable):
    """``c.Vault``: where credentials come from."""

    folder = Unicode(
        "", help="Folder of vault.json and vault.key; empty: the Keyless data folder."
    ).tag(config=True)
    entries = Dict(
        help="Entries whose values are elsewhere, by name; see the documentation of the vault for "
        "the sources and their settings. No secret stands here."
    ).tag(config=True)
    sessions = Dict(
        help="Temporary keys, off for every entry that isn't named here: name of an aws entry → "
        "role_arn, to (kernel, tools), and more; see the documentation of sessions."
    ).tag(config=True)
    aws_folder = Unicode(
        "", help="Folder of the AWS config and credentials files; empty: ~/.aws of the user."
    ).tag(config=True)
    keyring_bus = Unicode(
        "",
        help="D-Bus address of the session with the keyring; empty: the user's usual one, "
        "unix:path=/run/user/UID/bus.",
    ).tag(config=True)
    keyring_backend = Unicode(
        "", help="Class of the keyring library, by its full name; empty: the Secret Service."
    ).tag(config=True)

    def surroundings(
        self, upstreams: Mapping[str, str], workspace: str = "", *, show_errors: bool = False
    ) -> Surroundings:
        """What the vault's sources take from the machine.

        Args:
            upstreams: ``c.Egress.upstreams``.
            workspace: host path of the kernel's workspace, where there is one.
            show_errors: whether programs may write to standard error.
        """
        home = person_home()
        return Surroundings(
            home=home,
            aws_folder=home / self.aws_folder.removeprefix("~/") if self.aws_folder else None,
            upstreams=upstreams,
            workspace=workspace,
            keyring=OsKeyring(self.keyring_bus, self.keyring_backend),
            show_errors=show_errors,
        )


class Audit(Configurable):
    """``c.Audit``: where records go."""

    folder = Unicode(
        "", help="Folder of the records; empty: audit/ in the Keyless data folder."
    ).tag(config=True)


class Tools(Configurable):
    """``c.Tools``: which tools there are, and what one command may use."""

    declared = Dict(help="Tools by name; see the documentation for what a declaration holds.").tag(
        config=True
    )
    psql = AnyTrait(
        None, allow_none=True, help="Changes to the built-in psql tool; False: no such tool."
    ).tag(config=True)
    aws = AnyTrait(
        None, allow_none=True, help="Changes to the built-in aws tool; False: no such tool."
    ).tag(config=True)
    allow_not_isolated = Bool(
        False,
        help="Whether a request with isolated=False may run: it then writes into the workspace "
        "directly, and what it writes is not searched for secrets.",
    ).tag(config=True)
    max_requests = Integer(16, min=1, max=256, help="Commands under way at once.").tag(config=True)
    warm = Bool(
        True,
        help="Whether tools that are kept warm (the AWS CLI, and those declared with 'warm': True) "
        "are started from a process that has imported them already.",
    ).tag(config=True)
    warm_at_start = Bool(
        False,
        help="Whether warm tools that have a credential are started with the kernel, so that the "
        "first command is as fast as the next ones; else the first command starts its tool.",
    ).tag(config=True)
    ready_sandboxes = Integer(
        1, min=0, max=8, help="Sandboxes made beforehand for each of the tools used last."
    ).tag(config=True)
    warm_idle = Float(
        600.0,
        min=1.0,
        help="Seconds without a command after which warm tools and ready sandboxes are given up.",
    ).tag(config=True)
    max_files = Integer(
        10_000, min=0, help="Files and folders that one command may leave in the workspace."
    ).tag(config=True)
    max_written = Integer(
        4 * 1024**3, min=0, help="Bytes that one command may leave in the workspace."
    ).tag(config=True)


class Egress(Configurable):
    """``c.Egress``: the network that tools reach."""

    upstreams = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="Host pattern → URL of the server that stands in its place.",
    ).tag(config=True)
    max_connections = Integer(64, min=1, max=1024, help="Open connections of one command.").tag(
        config=True
    )


class Approvals(Configurable):
    """``c.Approvals``: what a person must approve, and how long it waits."""

    timeout = Float(
        300.0, min=1.0, max=24 * 3600.0, help="Seconds for which a question waits for an answer."
    ).tag(config=True)
    terminal = Bool(
        False,
        help="Whether questions wait although no program listens for them, for somebody who looks "
        "in by `jupyter keyless pending`; else they are denied at once.",
    ).tag(config=True)


@dataclasses.dataclass(frozen=True)
class Configuration:
    """All sections, checked."""

    vault: Vault
    audit: Audit
    tools: Tools
    egress: Egress
    confinement: Confinement
    limits: Limits
    approvals: Approvals


_SECTIONS: dict[str, type[Configurable]] = {
    "Vault": Vault,
    "Audit": Audit,
    "Tools": Tools,
    "Egress": Egress,
    "Confinement": Confinement,
    "Limits": Limits,
    "Approvals": Approvals,
}


def build(values: Mapping[str, Mapping[str, Any]]) -> Configuration:
    """Check plain values and make the sections of them.

    Args:
        values: section → setting → value, as in ``SidecarSettings.config``.

    Raises:
        ConfigInvalid: an unknown section or setting, or a value of the wrong type.
    """
    for section in values:
        if section not in _SECTIONS:
            raise ConfigInvalid(
                f"There is no section c.{section} (known: {', '.join(sorted(_SECTIONS))})."
            )
    try:
        configuration = Configuration(
            section_from(Vault, values),
            section_from(Audit, values),
            section_from(Tools, values),
            section_from(Egress, values),
            section_from(Confinement, values),
            section_from(Limits, values),
            section_from(Approvals, values),
        )
    except ConfigError as error:
        raise ConfigInvalid(f"{error}.") from None
    for pattern, url in configuration.egress.upstreams.items():
        try:
            parse_authority(pattern.removeprefix("*."), 443)
            parse_url(url)
        except BadDestination as error:
            raise ConfigInvalid(f"c.Egress.upstreams[{pattern!r}]: {error}.") from None
    return configuration
