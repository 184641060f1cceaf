"""When two acts are the same thing to do: what an approval covers, and what it doesn't.  Pure.

An approval is for exactly what was shown.  Two comparisons are made:

- :func:`key_of` for "allow for N minutes": a later act must be the same in each fact that is known.
- :func:`covers` for the requests of a command that was approved: the command line says less than
  the request (which region, which content type), so what it does say must be there unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from typing import Any

from keyless_sidecar.policy.acts import Act

__all__ = ["covers", "key_of"]

_FACTS = ("region", "account", "resource", "host", "port", "path", "method", "api_operation")
_MORE = ("exposure", "isolated", "delivery", "database", "user", "argv", "session")
#: They differ between the parts of one upload, the pages of one list, or each time a call is made.
_PASSING = re.compile(
    r"UploadId|PartNumber|ContentMD5|ContentLength|(Sdk)?Checksum\w*|IdempotencyToken"
    r"|Client(Request)?Token|(Next|Continuation)?Marker|(Next|Continuation)Token",
    re.IGNORECASE,
)
#: A parameter of such a name says what an act is about, so a request may not bring one along.
_TELLING = re.compile(
    r"(Name|Id|Identifier|Bucket|Arn|Url|Uri|Queue|Table|Cluster|Key|Source|Target|Role|Policy)$",
    re.IGNORECASE,
)


def key_of(rule: str, act: Act) -> Hashable | None:
    """What stands for an act in "allow for N minutes"; equal keys are the same thing to do.

    Args:
        rule: that asked.
        act: what was shown.

    Returns:
        The key, or ``None`` where too little is known of the act: it is asked about each time.
    """
    if act.action.startswith("http:") and "path" not in act.attributes:
        return None
    given = act.attributes
    names = [name for name in (*_FACTS, *_MORE) if name in given]
    if act.action.startswith("aws:"):  # the same operation, however it was written
        names = [name for name in names if name not in ("argv", "delivery", "host", "isolated")]
    facts = tuple((name, _hashable(given[name])) for name in names)
    unknown = tuple(sorted(_unknown(act)))
    parameters = tuple(sorted(_parameters(act).items()))
    return rule, act.action, act.tool, act.credential, facts, parameters, unknown


def covers(approved: Act, act: Act) -> bool:
    """Whether a request does what was approved with its command, and nothing else.

    Args:
        approved: an act of the command, as it was shown.
        act: of the request.
    """
    if (approved.action, approved.tool, approved.credential) != (
        act.action,
        act.tool,
        act.credential,
    ):
        return False
    if not act.action.startswith(
        "aws:"
    ):  # a command's own act and a request's have no more in common
        return key_of("", approved) is not None and key_of("", approved) == key_of("", act)
    said, done = approved.attributes, act.attributes
    if said.get("exposure", "") != done.get("exposure", ""):
        return False
    for name in ("region", "account", "api_operation"):
        if said.get(name) and said[name] != done.get(name):
            return False
    # An ARN that was known only by the region or account is told by the parameters.
    same_place = all(said.get(name) == done.get(name) for name in ("region", "account"))
    if same_place and said.get("resource") and said["resource"] != done.get("resource"):
        return False
    return _same_parameters(approved, act)


def _same_parameters(approved: Act, act: Act) -> bool:
    said, open_ = _parameters(approved), _unknown(approved)
    done, unclear = _parameters(act), _unknown(act)
    if "*" in open_:  # they stand in a file that was shown
        return all(done.get(name) == value for name, value in said.items())
    if any(done.get(name) != value for name, value in said.items()):
        return False
    added = (done.keys() - said.keys() - open_) | (unclear - open_)
    return not any(_TELLING.search(name) for name in added)


def _parameters(act: Act) -> dict[str, str]:
    given = act.attributes.get("parameters", {})
    if not isinstance(given, Mapping):
        return {}
    return {name: value for name, value in given.items() if not _PASSING.fullmatch(name)}


def _unknown(act: Act) -> set[str]:
    return {name for name in act.attributes.get("unknown_parameters", ()) if not _is_passing(name)}


def _is_passing(name: str) -> bool:
    return _PASSING.fullmatch(name) is not None


def _hashable(value: Any) -> Hashable:
    if isinstance(value, list | tuple):
        return tuple(value)
    return value if isinstance(value, Hashable) else repr(value)
