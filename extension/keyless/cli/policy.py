"""``jupyter keyless policy``: the arguments go on to the privileged half, which owns the parser."""

from __future__ import annotations

import json
import sys
from typing import Any

from traitlets.config import Config

from keyless.cli import privileged
from keyless_kernel.confine import ConfigError
from keyless_kernel.confine.settings import load_config, policy_file

__all__ = ["main", "policy_arguments"]


def main(argv: list[str]) -> int:
    """Run one policy command; returns its exit status."""
    try:
        places = policy_arguments(load_config())
    except ConfigError as error:
        print(f"jupyter keyless policy: {error}", file=sys.stderr)
        return 1
    return privileged.run("policy", [*places, *argv])


def policy_arguments(config: Config) -> list[str]:
    """Where the policy is, and which tools there are: what the privileged half begins with."""
    tools = json.dumps(_tools(config), default=str)
    return ["--policy", str(policy_file()), "--tools", tools]


def _tools(config: Config) -> dict[str, Any]:
    section = config.get("Tools", {})
    return {name: section[name] for name in ("declared", "aws") if name in section}
