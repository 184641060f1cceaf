"""Reading a policy's text: its rules with their lines, and what is wrong with it, with the line.

Cedar's own messages name no line, so the text is cut into statements first and each is parsed by
itself.  Pure text; the files are read in ``loading``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from cedarpy import policies_to_pst, pst

__all__ = ["PolicyInvalid", "Problem", "Rule", "read_rules", "walk"]

_TOKEN = re.compile(
    r'(?P<space>\s+|//[^\r\n]*)|"(?:[^"\\]|\\.)*"|[A-Za-z_]\w*|\d+|::|&&|\|\||[<>=!]=|.', re.DOTALL
)
_ANNOTATIONS = ("id", "outcome", "reason")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/-]{0,79}")
_MOST_REASON = 500
_MOST_TOKENS = 20_000
#: Cedar's parser is recursive, and what is far beyond this would overflow its stack.
_DEEPEST = 100
_MOST_JOINED = 400
_DEEP = "The rule is nested too deeply, or joins too many conditions; make several rules of it."


@dataclass(frozen=True)
class Problem:
    """Something wrong in a policy.

    Attributes:
        line: where, counted from 1; 0 for the whole file.
        message: one sentence.
        warning: it can be used all the same.
    """

    line: int
    message: str
    warning: bool = False


class PolicyInvalid(Exception):
    """A policy can't be used; the message names the file, the line and what is wrong."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        first = problems[0]
        where = f"{source}, line {first.line}" if first.line else source
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"The policy can't be used: {where}: {first.message}{more}")
        self.source = source
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Rule:
    """One statement of a policy.

    Attributes:
        name: its ``@id``, or ``line N``.
        outcome: what it answers where it fits.
        reason: its ``@reason``, or ``""``.
        line: where it starts, counted from 1.
        text: as it stands in the file.
        node: Cedar's syntax tree of it.
    """

    name: str
    outcome: Literal["allow", "ask", "deny"]
    reason: str
    line: int
    text: str
    node: pst.Template


def read_rules(text: str, source: str) -> list[Rule]:
    """Read all rules of a policy, in their order.

    Args:
        text: the policy.
        source: its name in messages.

    Raises:
        PolicyInvalid: it is no Cedar, or has annotations that mean nothing here.
    """
    problems: list[Problem] = []
    rules: list[Rule] = []
    for line, statement in _statements(text):
        if _too_deep(statement):
            problems.append(Problem(line, _DEEP))
            continue
        try:
            nodes = policies_to_pst(statement)
        except ValueError as error:
            problems.append(_unparsable(statement, line, str(error)))
            continue
        if nodes.templates or len(nodes.static_policies) != 1:
            problems.append(
                Problem(line, "?principal and ?resource have no meaning here; name the entity.")
            )
            continue
        node = next(iter(nodes.static_policies.values()))
        wrong = _annotations(node)
        if wrong:
            problems.append(Problem(line, wrong))
            continue
        rules.append(_rule(node, line, statement))
    seen: dict[str, int] = {}
    for rule in rules:
        first = seen.setdefault(rule.name, rule.line)
        if first != rule.line:
            problems.append(
                Problem(rule.line, f"The id {rule.name!r} is taken by the rule at line {first}.")
            )
    if problems:
        raise PolicyInvalid(source, sorted(problems, key=lambda problem: problem.line))
    return rules


def walk(node: object) -> Iterator[object]:
    """All nodes of a syntax tree, in no certain order."""
    stack = [node]
    while stack:
        value = stack.pop()
        if isinstance(value, tuple):
            stack.extend(value)
        elif isinstance(value, dict):
            stack.extend(value.values())
        elif type(value).__module__ == pst.__name__:
            yield value
            names = getattr(value, "__dataclass_fields__", {})
            stack.extend(getattr(value, name) for name in names)


def _rule(node: pst.Template, line: int, statement: str) -> Rule:
    outcome: Literal["allow", "ask", "deny"] = "allow"
    if node.effect == "forbid":
        outcome = "deny"
    elif node.annotations.get("outcome") == "ask":
        outcome = "ask"
    name = node.annotations.get("id") or f"line {line}"
    reason = node.annotations.get("reason") or ""
    return Rule(name, outcome, reason, line, statement, replace(node, id=""))


def _annotations(node: pst.Template) -> str:
    """What is wrong with a rule's annotations; a misspelt one would change what the rule means."""
    for key in node.annotations:
        if key not in _ANNOTATIONS:
            return f"There is no annotation @{key} (known: @id, @outcome, @reason)."
    outcome = node.annotations.get("outcome")
    if outcome is not None and (node.effect, outcome) not in (
        ("permit", "ask"),
        ("permit", "allow"),
        ("forbid", "deny"),
    ):
        return (
            f"This @outcome can't stand on a {node.effect}: a permit allows, or asks with "
            '@outcome("ask"); a forbid denies.'
        )
    name = node.annotations.get("id")
    if name is not None and (not _ID.fullmatch(name) or name == "none"):
        return (
            "An @id has 1 to 80 letters, digits, spaces and '._/-', starts with a letter or a "
            "digit, and is not 'none'."
        )
    reason = node.annotations.get("reason") or ""
    if len(reason) > _MOST_REASON or not reason.isprintable():
        return f"A @reason is one line of at most {_MOST_REASON} characters."
    return ""


def _tokens(text: str) -> Iterator[tuple[int, int, bool]]:
    """Start, end and whether it means nothing, for each token."""
    for match in _TOKEN.finditer(text):
        yield match.start(), match.end(), match.lastgroup == "space"


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each statement with the line that it starts at; what follows the last ``;`` is one too."""
    start: int | None = None
    end = 0
    for begin, stop, blank in _tokens(text):
        if blank:
            continue
        start = begin if start is None else start
        end = stop
        if text[begin:stop] == ";":
            yield _line(text, start), text[start:end]
            start = None
    if start is not None:
        yield _line(text, start), text[start:end]


def _too_deep(statement: str) -> bool:
    depth = joined = chosen = chain = 0
    for begin, stop, blank in _tokens(statement):
        word = statement[begin:stop]
        if word in ("(", "[", "{"):
            depth += 1
        elif word in (")", "]", "}"):
            depth -= 1
        elif word in ("&&", "||", "+", "-", "*"):
            joined += 1
        elif word == "if":
            chosen += 1
        if word in (".", "["):
            chain += 1
        elif not blank and word != "]" and not (word[0].isalpha() or word[0] in '_"'):
            chain = 0
        if max(depth, chosen, chain) > _DEEPEST or joined > _MOST_JOINED:
            return True
    return False


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _unparsable(statement: str, line: int, message: str) -> Problem:
    """Where a statement stops being Cedar: the shortest beginning that no ending could mend."""
    if "nesting exceeds" in message:
        return Problem(line, _DEEP)
    ends = [stop for _, stop, blank in _tokens(statement) if not blank]
    low, high = 0, len(ends) - 1
    if 0 < len(ends) <= _MOST_TOKENS:
        while low < high:
            middle = (low + high) // 2
            if _mendable(statement[: ends[middle]]):
                low = middle + 1
            else:
                high = middle
        line += statement.count("\n", 0, ends[low])
    said = message.removeprefix("Policy parse error: ").rstrip(".")
    if "end of input" in said:
        said += "; a rule ends with ';'"
    elif said == "invalid token":
        said += ", such as a text without its closing quotation mark"
    return Problem(line, f"This is no Cedar: {said}.")


def _mendable(beginning: str) -> bool:
    try:
        policies_to_pst(beginning)
    except ValueError as error:
        return "unexpected end of input" in str(error)
    return True
