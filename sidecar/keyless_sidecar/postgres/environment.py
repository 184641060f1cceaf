"""The libpq variables that lead a tool, or a cell, to the broker's listener."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["SETTLED", "client_environment"]

_NOWHERE = "/nonexistent"

#: The same for every connection: no file is read, and nothing is encrypted up to the broker.
SETTLED: Mapping[str, str] = {
    "PGSSLMODE": "disable",
    "PGGSSENCMODE": "disable",
    "PGCHANNELBINDING": "disable",
    "PGPASSFILE": _NOWHERE,
    "PGSERVICEFILE": _NOWHERE,
    "PGSYSCONFDIR": _NOWHERE,
}


def client_environment(
    fields: Mapping[str, str], port: int, *, host: str = "127.0.0.1"
) -> dict[str, str]:
    """Variables for libpq and its bindings (psql, psycopg), node-postgres, asyncpg and others.

    Args:
        fields: the entry's plain ones, ``username`` and ``database``; others aren't looked at.
        port: where the broker listens.
        host: an address, or the folder of an AF_UNIX listener named ``.s.PGSQL.<port>``.
    """
    return {
        **SETTLED,
        "PGHOST": host,
        "PGPORT": str(port),
        "PGUSER": fields["username"],
        # psql would take the user's name.
        "PGDATABASE": fields.get("database") or fields["username"],
    }
