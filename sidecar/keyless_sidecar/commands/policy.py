"""``jupyter keyless policy``: check, explain, init.  Run by :mod:`keyless_sidecar.__main__`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keyless.protocol.calls import SDK
from keyless_sidecar.calls.explaining import acts_of_call
from keyless_sidecar.policy.actions import canonical, is_action
from keyless_sidecar.policy.acts import Act
from keyless_sidecar.policy.asking import acts_of_action, acts_of_command
from keyless_sidecar.policy.aws_parameters import NotInModel
from keyless_sidecar.policy.engine import CedarPolicy, Explanation, Principal
from keyless_sidecar.policy.lint import find_idle
from keyless_sidecar.policy.loading import EXAMPLES, built_in_text, load_policy
from keyless_sidecar.policy.names import check_names
from keyless_sidecar.policy.refusal import remedy
from keyless_sidecar.policy.source import PolicyInvalid, Problem
from keyless_sidecar.printable import printable
from keyless_sidecar.tools import Refused, ToolConfigError, load_tools, missing_tool

__all__ = ["main"]

_LARGEST = 256 * 1024
_FACTS = ("credential", "region", "account", "resource", "host", "path", "delivery", "tool")


def main(argv: list[str], prog: str = "jupyter keyless policy") -> int:
    """Run one policy command.

    Returns:
        0 done, 1 the policy can't be used or the question has no answer, 2 wrong arguments.
    """
    # What follows -- is the command to explain, options and all.
    cut = argv.index("--") if "--" in argv else len(argv)
    options = _parser(prog).parse_args(argv[:cut])
    options.words = argv[cut + 1 :]
    try:
        code: int = options.run(options)
    except PolicyInvalid as error:
        _print_problems(error.source, error.problems)
        return 1
    except OSError as error:
        print(f"{prog}: {error.filename or 'the file'}: {error.strerror}", file=sys.stderr)
        return 1
    except (NotInModel, ToolConfigError, _NoAnswer) as error:
        print(f"{prog}: {printable(str(error))}", file=sys.stderr)
        return 1
    return code


class _NoAnswer(Exception):
    """The question can't be answered; the message is one sentence."""


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description="What notebooks may do.", allow_abbrev=False
    )
    parser.add_argument("--data-dir", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--policy", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--tools", default="{}", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="find what is wrong in a policy", allow_abbrev=False)
    check.add_argument("file", type=Path, nargs="?", help="default: the policy in force")
    check.set_defaults(run=_check)
    explain = commands.add_parser(
        "explain",
        help="show which rule decides a command or an action",
        usage=f"{prog} explain [options] (-- TOOL ARGUMENTS… | --action ACTION)",
        allow_abbrev=False,
    )
    explain.add_argument("--file", type=Path, help="another policy than the one in force")
    explain.add_argument("--action", default="", help="such as aws:s3:PutObject or http:POST")
    explain.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=VALUE", help="of the operation"
    )
    for name in _FACTS:
        explain.add_argument(f"--{name}", help=argparse.SUPPRESS if name == "tool" else None)
    for name, text in (("kernel", "keyless"), ("notebook", ""), ("level", "namespaces")):
        explain.add_argument(f"--{name}", default=text, help=f"of the kernel (default {text!r})")
    explain.add_argument("--json", action="store_true", help="for programs")
    explain.set_defaults(run=_explain)
    init = commands.add_parser("init", help="write a policy file to start from", allow_abbrev=False)
    init.add_argument("example", nargs="?", choices=EXAMPLES, default="default")
    init.set_defaults(run=_init)
    return parser


# ---------------------------------------------------------------------- check


def _check(options: argparse.Namespace) -> int:
    principal = Principal("keyless")
    if options.file is None:
        policy = load_policy(options.policy, principal)
        name = str(options.policy)
        if policy.source_name == "default":
            print(f"There is no {printable(name)}; the policy that comes with Keyless is in force.")
            return 0
    else:
        name = str(options.file)
        policy = CedarPolicy(_text(options.file), principal, options.file.name)
    problems = [*check_names(policy.rules), *find_idle(policy.rules)]
    _print_problems(name, problems)
    if not all(problem.warning for problem in problems):
        return 1
    rules = len(policy.rules)
    print(f"✓ {printable(name)}: {rules} rule{'' if rules == 1 else 's'}")
    return 0


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise PolicyInvalid(path.name, [Problem(0, f"It is larger than {_LARGEST // 1024} KiB.")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyInvalid(path.name, [Problem(line, "This is not UTF-8.")]) from None


def _print_problems(name: str, problems: list[Problem] | tuple[Problem, ...]) -> None:
    for problem in sorted(problems, key=lambda problem: problem.line):
        where = f"{name}:{problem.line}" if problem.line else name
        kind = "warning" if problem.warning else "error"
        print(f"{printable(where)}: {kind}: {printable(problem.message)}", file=sys.stderr)


# ---------------------------------------------------------------------- explain


def _explain(options: argparse.Namespace) -> int:
    principal = Principal(options.kernel, options.notebook, options.level)
    if options.file is not None:
        policy = CedarPolicy(_text(options.file), principal, options.file.name)
    else:
        policy = load_policy(options.policy, principal)
    if bool(options.action) == bool(options.words):
        raise _NoAnswer("give either --action ACTION, or -- and a command.")
    try:
        acts = _acts(options)
    except Refused as refused:
        _show_refused(refused, as_json=options.json)
        return 0
    shown = [(act, policy.explain(act)) for act in acts]
    if options.json:
        print(json.dumps([_plain(act, told) for act, told in shown]))
        return 0
    for number, (act, told) in enumerate(shown):
        if number:
            print()
        _show(policy, act, told, str(options.file or options.policy))
    return 0


def _acts(options: argparse.Namespace) -> tuple[Act, ...]:
    facts = {name: getattr(options, name) for name in _FACTS if getattr(options, name) is not None}
    if options.action:
        action = canonical(options.action)
        if not is_action(action):
            raise _NoAnswer(
                "an action is exec, session, http:METHOD, postgres:connect or "
                "aws:SERVICE:Operation, such as aws:s3:PutObject."
            )
        parameters = dict(_pair(text) for text in options.parameter)
        return acts_of_action(options.action, parameters, facts)
    name, *argv = options.words
    kept = ("credential", "region", "account", "delivery")
    given = {key: value for key, value in facts.items() if key in kept}
    if name == SDK:
        return acts_of_call(argv, given)
    tools = load_tools(json.loads(options.tools))
    if name not in tools:
        raise _NoAnswer(missing_tool(name, tools))
    return acts_of_command(tools[name], argv, Path.cwd(), given)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise _NoAnswer("a parameter is written --parameter NAME=VALUE.")
    return name, value


def _show_refused(refused: Refused, *, as_json: bool) -> None:
    if as_json:
        plain = {"outcome": "deny", "rule": refused.rule, "reason": refused.message}
        print(json.dumps([plain]))
        return
    print("deny, before any policy is asked")
    print(f"  rule:     {printable(refused.rule)} (of the tool)")
    print(f"  why:      {printable(refused.message)}")


def _show(policy: CedarPolicy, act: Act, told: Explanation, path: str) -> None:
    decision = told.decision
    print(f"{decision.outcome}  {printable(act.action)}")
    print(f"  rule:     {printable(decision.rule)}")
    print(f"  why:      {printable(decision.reason)}")
    for name, value in _facts(act).items():
        print(f"  {name + ':':<10}{printable(value)}")
    others = [rule for rule in told.fitting if rule is not told.rule]
    if others:
        print(f"  fit too: {printable(', '.join(policy.rule_id(rule) for rule in others))}")
    for rule, why in told.failed:
        print(f"  not evaluated: {printable(policy.rule_id(rule))}, {printable(why)}")
    if told.rule is not None:
        print(f"  text of the rule, line {told.rule.line}:")
        for line in told.rule.text.splitlines():
            print(f"    {printable(line)}")
    if decision.outcome != "allow":
        for line in remedy(decision, act, path).splitlines():
            print(f"  {printable(line)}")


def _facts(act: Act) -> dict[str, str]:
    """What was decided about, without the long and the obvious."""
    given = act.attributes
    parameters = given.get("parameters") or {}
    found = {
        name: str(given[name])
        for name in ("resource", "region", "host", "path", "exposure", "delivery")
        if given.get(name)
    }
    if parameters:
        found["with"] = " ".join(f"{name}={value}" for name, value in parameters.items())
    return found


def _plain(act: Act, told: Explanation) -> Mapping[str, Any]:
    decision = told.decision
    return {
        "action": act.action,
        "outcome": decision.outcome,
        "rule": decision.rule,
        "reason": decision.reason,
        "line": told.rule.line if told.rule is not None else 0,
    }


# ---------------------------------------------------------------------- init


def _init(options: argparse.Namespace) -> int:
    path: Path = options.policy
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o600)
    except FileExistsError:
        raise _NoAnswer(f"{path} is there already; edit it, or move it away first.") from None
    with open(fd, "w", encoding="utf-8") as file:
        file.write(built_in_text(options.example))
    print(f"Wrote {printable(str(path))} ({options.example}); it counts for kernels started now.")
    return 0
