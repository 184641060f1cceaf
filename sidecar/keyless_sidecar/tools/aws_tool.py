"""The built-in ``aws`` tool: where the AWS CLI is trusted, and how it is kept from all settings.

The CLI reads no file of the user: no profile, alias, plugin, history or credential process.  What
it needs comes in its environment.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["aws_declaration", "aws_places"]

#: The sandbox's HOME is an empty folder; these names in it never exist.
_NOWHERE = "/home/tool/.keyless-none"

_DEFAULTS: Mapping[str, Any] = {
    "rules": "aws",
    "delivery": "proxy",
    "secret_env": {
        "AWS_ACCESS_KEY_ID": "aws:access_key_id",
        "AWS_SECRET_ACCESS_KEY": "aws:secret_access_key",
        "AWS_SESSION_TOKEN": "aws:session_token?",
        "AWS_DEFAULT_REGION": "aws:region?",
    },
    "environment": {
        "AWS_CONFIG_FILE": f"{_NOWHERE}/config",
        "AWS_SHARED_CREDENTIALS_FILE": f"{_NOWHERE}/credentials",
        "AWS_CLI_HISTORY_FILE": f"{_NOWHERE}/history.db",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        "AWS_CLI_AUTO_PROMPT": "off",
        "PAGER": "cat",
        "MANPAGER": "cat",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
        "NO_COLOR": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    },
    "hosts": ["*.amazonaws.com:443", "*.amazonaws.com.cn:443", "*.api.aws:443"],
    "max_args": 4096,
    "description": "AWS command line, checked against the service models",
}


def aws_places() -> tuple[str, ...]:
    """Where the AWS CLI is looked for, in order: all places that only a person can write."""
    return (f"{sys.prefix}-aws/bin/aws", "/usr/local/bin/aws", "/usr/bin/aws")


def aws_declaration(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The declaration of ``aws``: the defaults, with what a person set.

    Args:
        config: a person's settings; ``path`` names the CLI, ``environment`` adds to the defaults.

    Returns:
        None where no path is set and no CLI is found.
    """
    path = config.get("path") or next(
        (place for place in aws_places() if Path(place).is_file()), None
    )
    if path is None:
        return None
    declaration = {**_DEFAULTS, **config, "path": path, "rules": "aws"}
    declaration["environment"] = {
        **_DEFAULTS["environment"],
        **(config.get("environment") or {}),
    }
    declaration.setdefault("model_path", _models(path))
    return declaration


def _models(program: Any) -> str:
    """The service models of that very CLI, so that rules and tool agree on what exists."""
    if not isinstance(program, str):
        return ""
    prefix = Path(program).resolve().parent.parent
    for pattern in (
        "lib/python3*/site-packages/awscli/botocore/data",
        "lib/python3*/site-packages/botocore/data",
        "lib/python3/dist-packages/awscli/botocore/data",
        "lib/python3/dist-packages/botocore/data",
        "dist/awscli/botocore/data",
    ):
        found = sorted(prefix.glob(pattern))
        if found:
            return str(found[-1])
    return ""
