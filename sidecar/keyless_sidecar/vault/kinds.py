"""What kinds of credentials there are, and how each reaches the tool unless a person says else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["DEFAULT_DELIVERY", "DELIVERIES", "KINDS", "Kind", "VaultError"]

#: Ways in which a credential reaches the tool, from the least to the most exposed.
DELIVERIES = ("proxy", "env", "file")


class VaultError(Exception):
    """The vault can't do it; the message is one sentence that says why and what helps."""


@dataclass(frozen=True)
class Kind:
    """Which fields a kind of credential has.

    Attributes:
        required: names that must be there.
        optional: names that may be there.
        plain: those that are no secret, hence aren't taken out of a tool's output.
        any_field: other names are allowed too, and each is a secret.
        single: the field that holds the value of a credential that is one text, empty where it
            needs several.
    """

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    plain: frozenset[str] = frozenset()
    any_field: bool = False
    single: str = ""


#: The kinds.  An AWS access key id counts as a secret: it names the account and the person.
KINDS: Mapping[str, Kind] = {
    "aws": Kind(
        ("access_key_id", "secret_access_key"), ("session_token", "region"), frozenset({"region"})
    ),
    "token": Kind(("value",), single="value"),
    "basic": Kind(("username", "password"), (), frozenset({"username"})),
    "postgres": Kind(
        ("host", "username"),
        (
            *("password", "port", "database", "sslmode", "sslrootcert", "sslcert", "sslkey"),
            *("require_auth", "channel_binding"),
        ),
        frozenset(
            {
                *("host", "port", "database", "username", "sslmode", "sslrootcert", "sslcert"),
                *("require_auth", "channel_binding"),
            }
        ),
    ),
    "file": Kind(("content",), single="content"),
    "generic": Kind(any_field=True, single="value"),
}

#: What an entry that names no delivery gets.
DEFAULT_DELIVERY: Mapping[str, str] = {
    "aws": "proxy",
    "token": "env",
    "basic": "env",
    "postgres": "proxy",
    "file": "file",
    "generic": "env",
}
