"""Optional dependencies, imported when a source needs them."""

from __future__ import annotations

import importlib
from typing import Any

from keyless_sidecar.vault.kinds import VaultError

__all__ = ["load_optional"]


def load_optional(module: str, extra: str) -> Any:
    """A module of an optional dependency.

    Raises:
        VaultError: it isn't installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise VaultError(
            f"The Python package {package} is missing: pip install 'keyless[{extra}]'"
        ) from None
