"""An argument parser that takes no secret from the command line and repeats none."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

__all__ = ["Parser"]

_NO_SECRETS = (
    "a secret is never taken from the command line, where other programs and the shell's history "
    "can read it: type it at the prompt, or use --from-stdin or --from-fd "
    "(one that stood here is exposed: change it)"
)
_REPEATS_VALUE = re.compile(
    r"(invalid [\w ]*value|invalid choice|ignored explicit argument):? .*?( \(choose from .*\))?$",
    re.DOTALL,
)


class Parser(argparse.ArgumentParser):
    """Like its base, but abbreviations don't count and error messages hold no argument's value."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        kwargs["allow_abbrev"] = False
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """End with status 2 and one line."""
        if message.startswith("unrecognized arguments"):
            message = _NO_SECRETS
        else:
            message = _REPEATS_VALUE.sub(r"\1\2", message)
        self.exit(2, f"{self.prog}: {message}\n")
