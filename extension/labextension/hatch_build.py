"""Puts the built JupyterLab extension into wheels, and into editable installs once it is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILT = Path("build") / "labextension"
TARGET = "share/jupyter/labextensions/keyless"


class LabExtension(BuildHookInterface[Any]):
    """Called by hatchling for each wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files.

        Raises:
            FileNotFoundError: a wheel for others would be without them.
        """
        built = Path(self.root) / BUILT
        if (built / "package.json").is_file():
            build_data["shared_data"][str(built)] = TARGET
        elif version != "editable":
            raise FileNotFoundError(f"{BUILT} is missing: run `make labextension` first")
