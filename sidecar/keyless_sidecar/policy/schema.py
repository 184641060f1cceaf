"""The Cedar schema that policy files are checked against.

Every fact stands in it as one that is always there, so that rules needn't ask for it first.  A fact
that isn't known when an act is decided is left out then: a forbid that needs it can't be evaluated,
and the engine denies.

AWS has more than ten thousand operations; the schema names only those that the file speaks of.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from keyless_sidecar.policy.actions import GROUPS, HTTP_METHODS, groups_of, is_group

__all__ = ["FACTS", "schema_text"]

#: What rules may say of an act, with the Cedar type.
FACTS: Mapping[str, str] = {
    "tool": "String",
    "argv": "Set<String>",
    "argv_text": "String",
    "region": "String",
    "account": "String",
    "resource": "String",
    "host": "String",
    "path": "String",
    "method": "String",
    "cell_hash": "String",
    "execution_count": "Long",
    "mutating": "Bool",
    "exposure": "String",
    "isolated": "Bool",
    "delivery": "String",
    "allow_listed": "Bool",
}

_ENTITIES = """\
entity Kernel { name: String, notebook: String, level: String };
entity Credential { name: String, kind: String };
"""


def schema_text(names: Iterable[str], parameters: Iterable[str]) -> str:
    """The schema for one policy file.

    Args:
        names: the actions and groups that it names, all well formed.
        parameters: the names under ``context.parameters`` that it uses.
    """
    actions = {"exec", "session", "postgres:connect", *(f"http:{m}" for m in HTTP_METHODS)}
    groups = set(GROUPS)
    for name in names:
        if is_group(name):
            groups.add(name)
            # A group without a member could stand in no rule.
            member = f"{name}:Any" if ":" in name else f"{name}:sts:Any"
            actions.add(member if name.startswith("aws") else "exec")
        else:
            actions.add(name)
    actions.add("aws:sts:Any")
    groups |= {group for action in actions for group in groups_of(action)}
    fields = [f"{_quoted(name)}: {kind}" for name, kind in FACTS.items()]
    inner = ", ".join(f"{_quoted(name)}: String" for name in sorted(set(parameters)))
    lines = [_ENTITIES, f"type Facts = {{ {', '.join(fields)}, parameters: {{ {inner} }} }};"]
    for group in sorted(groups):
        lines.append(f"action {_quoted(group)}{_members(_parents_of_group(group))};")
    for action in sorted(actions):
        lines.append(
            f"action {_quoted(action)}{_members(groups_of(action))} appliesTo "
            "{ principal: [Kernel], resource: [Credential], context: Facts };"
        )
    return "\n".join(lines)


def _parents_of_group(group: str) -> tuple[str, ...]:
    return ("aws",) if group.startswith("aws:") else ()


def _members(parents: Iterable[str]) -> str:
    inside = ", ".join(_quoted(parent) for parent in parents)
    return f" in [{inside}]" if inside else ""


def _quoted(name: str) -> str:
    # Cedar reads the escapes of JSON for what can stand in these names, which is ASCII.
    return json.dumps(name)
