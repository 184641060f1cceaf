"""The built-in ``psql`` tool: where it is trusted, and how it is kept from all settings.

It connects to the broker in its own sandbox, which holds the credential for it.  The denied
arguments would lead it elsewhere; there is nothing else to reach in its sandbox, so they would only
fail there, later and less clearly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["psql_declaration", "psql_places"]

#: Short options without a value; a cluster such as ``-Ath`` begins with them.
_FLAGS = "aAbeEHlnqsStwWxXzV?01"
#: libpq's settings that lead elsewhere, as they may begin a connection string.  The broker itself
#: refuses another user or database, and psql's own variables (``-v user=…``) may have such names.
_SETTINGS = "dbname|gss[a-z]+|host|hostaddr|passfile|port|service|servicefile|ssl[a-z_]+"
_DENY = (
    # -h, -p, -U and -W, alone, with their value, or at the end of a cluster; --host and so on,
    # abbreviated as getopt allows.
    rf"^-[{re.escape(_FLAGS)}]*[hpU]",
    r"^--hos?t?(=|$)",
    r"^--por?t?(=|$)",
    r"^--us?e?r?n?a?m?e?(=|$)",
    # A connection string in place of a database's name, also as -d's or --dbname's value.
    rf"^(-[{re.escape(_FLAGS)}]*d|--d[a-z]*=)?\s*postgres(ql)?://",
    rf"^(-[{re.escape(_FLAGS)}]*d|--d[a-z]*=)?\s*({_SETTINGS})\s*=",
)

_DEFAULTS: Mapping[str, Any] = {
    "rules": "plain",
    "delivery": "proxy",
    # It asks for no password, and stops at the first error in a file.
    "arguments": ["--no-psqlrc", "--no-password", "--set=ON_ERROR_STOP=1"],
    # What leads it to the broker comes with each command (keyless_sidecar.postgres).
    "environment": {
        "PSQLRC": "/nonexistent",
        "PSQL_HISTORY": "/dev/null",
        "PSQL_PAGER": "cat",
        "PAGER": "cat",
        "EDITOR": "/bin/false",
        "PSQL_EDITOR": "/bin/false",
        "PGCLIENTENCODING": "UTF8",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
    },
    "hosts": [],
    "deny": list(_DENY),
    "max_args": 256,
    "description": "PostgreSQL command line; the database and its user come from the credential",
}


def psql_places() -> tuple[str, ...]:
    """Where psql is looked for, in order: all places that only a person can write.

    Debian's ``/usr/bin/psql`` is a script that reads settings of its own; the newest of the real
    ones comes first.
    """
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/psql"), key=_version, reverse=True)
    return (*map(str, versions), "/usr/local/bin/psql", "/usr/bin/psql")


def psql_declaration(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The declaration of ``psql``: the defaults, with what a person set.

    Args:
        config: a person's settings; ``path`` names the program, ``environment`` and ``deny`` add to
            the defaults.

    Returns:
        None where no path is set and no psql is found.
    """
    path = config.get("path") or next(
        (place for place in psql_places() if Path(place).is_file()), None
    )
    if path is None:
        return None
    declaration = {**_DEFAULTS, **config, "path": path, "rules": "plain"}
    declaration["environment"] = {
        **_DEFAULTS["environment"],
        **(config.get("environment") or {}),
    }
    declaration["deny"] = [*_DENY, *(config.get("deny") or ())]
    return declaration


def _version(path: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", path.parent.parent.name))
