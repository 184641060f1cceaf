"""A policy that can't be used says where and why, and is not used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keyless_sidecar.policy.engine import CedarPolicy, Principal
from keyless_sidecar.policy.lint import find_idle
from keyless_sidecar.policy.loading import EXAMPLES, built_in_text, load_policy
from keyless_sidecar.policy.names import check_names
from keyless_sidecar.policy.source import PolicyInvalid, Problem

KERNEL = Principal("keyless")
GOOD = "permit (principal, action, resource);"


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(PolicyInvalid) as caught:
        CedarPolicy(text, KERNEL)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("permit (principal,\n  action action,\n  resource);", 2, "unexpected token `action`"),
        (f"{GOOD}\n\npermit (principal, action, resource)", 3, "a rule ends with ';'"),
        ("permit (principal, action, resource)\nwhen { context.region = 5 };", 2, "'='"),
        ('permit (principal, action, resource)\nwhen { context.region == "x };', 2, "quotation"),
        (f"{GOOD}\n\n{{}}", 3, "unexpected token"),
        (f"// a comment; with \"signs\n{GOOD}\npremit (principal, action, resource);", 3, "premit"),
        ('permit (principal, action == Action::"lambda:X", resource);', 1, "no action 'lambda:X'"),
        ('permit (principal, action == Action::"http:get", resource);', 1, "'http:GET'"),
        ('permit (principal, action == Action::"aws:s3:UploadPart", resource);', 1, "PutObject"),
        ('permit (principal, action == Action::"aws:s3", resource);', 1, "`action in Action::…`"),
        ('permit (principal == User::"me", action, resource);', 1, "'User'"),
        ("permit (principal == ?principal, action, resource);", 1, "?principal"),
        (f'{GOOD}\n\n{GOOD[:-1]}\nwhen {{ context.regoin == "x" }};', 3, "'region'"),
        ("permit (principal, action, resource) when { context.tool == 1 };", 1, "String"),
        ("permit (principal, action, resource) when { context.mutating like \"x\" };", 1, "Bool"),
        (f'@outcom("ask")\n{GOOD}', 1, "@outcom"),
        (f'@outcome("aks")\n{GOOD}', 1, "@outcome"),
        ('@outcome("ask") forbid (principal, action, resource);', 1, "@outcome"),
        (f'@id("a")\n{GOOD}\n@id("a")\n{GOOD}', 3, "taken by the rule at line 1"),
        (f'@id("none") {GOOD}', 1, "@id"),
        (f'@id("") {GOOD}', 1, "@id"),
        (f'@reason("a\\nb") {GOOD}', 1, "@reason"),
        ("\ufffe", 1, "no Cedar"),
        *(
            (f"// x\n{GOOD[:-1]}\nwhen {{ {deep} }};", 2, "too deeply")
            for n in (110, 2000, 30_000)
            for deep in (
                "[" * n + "]" * n + " == []",
                "(" * n + "true" + ")" * n,
                " && ".join(["true"] * n),
                " || ".join(["true && true"] * n),
                "1" + " + 1" * n + " == 1",
                "if true then true else " * n + "true",
                "context" + ".a" * n + " == 1",
                "context" + '["a"]' * n + " == 1",
            )
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(text: str, line: int, says: str) -> None:
    first = problems(text)[0]
    assert first.line == line
    assert says in first.message


def test_all_problems_are_told_at_once() -> None:
    text = f'permit (principal action);\n{GOOD}\n@idd("x") {GOOD}'
    assert [problem.line for problem in problems(text)] == [1, 3]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "// nothing\n",
        'permit (principal, action, resource) when { context.host == "a;b//c\\"d" };',
        'permit (principal, action, resource) when { context.parameters["A.B"] == "x" };',
        "permit (principal, action, resource) when { context.parameters has Foo };",
        'permit (principal, action, resource) when { context.parameters has "Foo" && '
        "context.argv.containsAny([context.host]) };",
        f'{GOOD[:-1]} when {{ [Action::"aws:s3:GetObject"].contains(action) }};',
    ],
)  # fmt: skip
def test_cedar_in_its_width_is_read(text: str) -> None:
    CedarPolicy(text, KERNEL)


# ------------------------------------------------------------------ names and idle rules


def named(text: str) -> list[Problem]:
    return check_names(CedarPolicy(text, KERNEL).rules)


def test_unknown_operations_stop_a_forbid_and_warn_of_a_permit() -> None:
    scope = '(principal, action == Action::"aws:lambda:DeleteFuncton", resource);'
    [problem] = named(f"forbid {scope}")
    assert not problem.warning
    assert "did you mean 'DeleteFunction'" in problem.message
    assert [found.warning for found in named(f"permit {scope}")] == [True]
    assert [found.warning for found in named(f'@outcome("ask") permit {scope}')] == [False]


@pytest.mark.parametrize(
    ("scope", "says"),
    [
        ('action in Action::"aws:lamda"', "'lambda'"),
        ('action in Action::"aws:s3api"', "'s3'"),
        ('action == Action::"aws:deploy:ListApplications"', "'codedeploy'"),
        ('action == Action::"aws:S3x:GetObject"', ""),
    ],
)
def test_unknown_services(scope: str, says: str) -> None:
    text = f"forbid (principal, {scope}, resource);"
    if "S3x" in scope:
        assert "no action" in problems(text)[0].message
    else:
        assert says in named(text)[0].message


def test_unknown_parameters() -> None:
    [problem] = named(
        'forbid (principal, action == Action::"aws:lambda:Invoke", resource) '
        'when { context.parameters.FuncName == "x" };'
    )
    assert "'FunctionName'" in problem.message
    assert not named(
        'forbid (principal, action in Action::"aws:lambda", resource) '
        'when { context.parameters.Whatever == "x" };'
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "everything is denied"),
        ("forbid (principal, action, resource);", "everything is denied"),
        (f"{GOOD}\npermit (principal, action, resource);", "says the same"),
        (f"{GOOD}\n{GOOD[:-1]} when {{ false }};", "never fits"),
        (
            'permit (principal, action == Action::"aws:s3:GetObject", resource);\n'
            'forbid (principal, action in Action::"aws", resource);',
            "always denies",
        ),
        (f'{GOOD}\n@outcome("ask") permit (principal, action, resource);', "always asks"),
    ],
)  # fmt: skip
def test_rules_that_never_matter(text: str, says: str) -> None:
    found = find_idle(CedarPolicy(text, KERNEL).rules)
    assert found
    assert all(problem.warning for problem in found)
    assert says in found[0].message


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_comes_with_keyless_is_flawless(name: str) -> None:
    rules = CedarPolicy(built_in_text(name), KERNEL, name).rules
    assert not check_names(rules)
    assert not find_idle(rules)


# ------------------------------------------------------------------ the file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "keyless"
    folder.mkdir(mode=0o700)
    path = folder / "policy.cedar"
    path.write_text(GOOD)
    path.chmod(0o600)
    return path


def refused(path: Path) -> str:
    with pytest.raises(PolicyInvalid) as caught:
        load_policy(path, KERNEL)
    return str(caught.value)


def test_a_file_is_used(file: Path) -> None:
    assert load_policy(file, KERNEL).source_name == "policy.cedar"


@pytest.mark.parametrize("gone", ["file", "folder", "place"])
def test_without_a_file_the_built_in_policy_counts(file: Path, gone: str) -> None:
    path = file if gone == "file" else file.parent / "no" / "policy.cedar"
    if gone == "file":
        file.unlink()
    assert load_policy(None if gone == "place" else path, KERNEL).source_name == "default"


def test_an_empty_file_is_a_policy_that_allows_nothing(file: Path) -> None:
    file.write_text("")
    assert not load_policy(file, KERNEL).rules


def test_a_broken_file_is_never_replaced_by_the_built_in_policy(file: Path) -> None:
    file.write_text("permit (principal, action, resource)")
    assert "line 1" in refused(file)
    file.write_bytes(b"// \xff\n")
    assert "UTF-8" in refused(file)
    file.write_text("// x\n" * 100_000)
    assert "larger" in refused(file)
    file.write_text('forbid (principal, action == Action::"aws:s3:PutObjekt", resource);')
    assert "PutObject" in refused(file)


def test_a_file_that_others_may_write_is_refused(file: Path) -> None:
    file.chmod(0o620)
    assert "chmod" in refused(file)
    file.chmod(0o602)
    assert "chmod" in refused(file)
    file.chmod(0o644)
    load_policy(file, KERNEL)
    file.parent.chmod(0o770)
    assert "folder" in refused(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_is_refused(file: Path) -> None:
    os.chown(file, 12345, 12345)
    assert "another user" in refused(file)


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "folder"])
def test_what_is_no_plain_file_is_refused(file: Path, kind: str) -> None:
    target = file.with_name("target")
    file.unlink()
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        if kind == "link":
            target.write_text(GOOD)
        file.symlink_to(target)
    assert "plain file" in refused(file)
