"""Decisions: deny over ask over allow, deny where nothing fits, deny where anything goes wrong."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless_sidecar.policy import Act, Decision
from keyless_sidecar.policy.engine import CedarPolicy, Principal
from keyless_sidecar.policy.loading import EXAMPLES, built_in_text
from keyless_sidecar.policy.refusal import refusal_text
from keyless_sidecar.policy.source import PolicyInvalid

PRINCIPAL = Principal("keyless", "work/deploy.ipynb", "namespaces")

ALLOW = '@id("allow") permit (principal, action, resource);'
ASK = '@id("ask") @outcome("ask") permit (principal, action, resource);'
DENY = '@id("deny") @reason("Not on Fridays.") forbid (principal, action, resource);'


def policy(*rules: str, principal: Principal = PRINCIPAL) -> CedarPolicy:
    return CedarPolicy("\n".join(rules), principal)


def act(action: str = "aws:s3:GetObject", **attributes: Any) -> Act:
    known = {"exposure": "", "parameters": {}, **attributes}
    return Act(action, "aws", "work", False, known)


@pytest.mark.parametrize(
    ("rules", "outcome", "rule"),
    [
        ((), "deny", "policy.cedar:none"),
        ((ALLOW,), "allow", "policy.cedar:allow"),
        ((ASK,), "ask", "policy.cedar:ask"),
        ((DENY,), "deny", "policy.cedar:deny"),
        ((ALLOW, ASK), "ask", "policy.cedar:ask"),
        ((ALLOW, DENY), "deny", "policy.cedar:deny"),
        ((ASK, DENY), "deny", "policy.cedar:deny"),
        ((ALLOW, ASK, DENY), "deny", "policy.cedar:deny"),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_deny_over_ask_over_allow(
    rules: tuple[str, ...], outcome: str, rule: str, backwards: bool
) -> None:
    decision = policy(*(rules[::-1] if backwards else rules)).decide(act())
    assert (decision.outcome, decision.rule) == (outcome, rule)


def test_the_reason_is_the_persons_own() -> None:
    assert policy(DENY).decide(act()).reason == "Not on Fridays."
    assert "policy.cedar:allow allows it" in policy(ALLOW).decide(act()).reason


def test_rules_keep_their_names_beyond_ten() -> None:
    rules = [
        f'@id("r{n}") permit (principal, action == Action::"http:GET", resource) '
        f'when {{ context.host == "h{n}" }};'
        for n in range(25)
    ]
    decide = policy(*rules).decide
    for n in range(25):
        assert decide(act("http:GET", host=f"h{n}")).rule == f"policy.cedar:r{n}"


def test_rules_without_an_id_are_named_by_their_line() -> None:
    text = "// first\n\npermit (principal, action, resource);"
    assert policy(text).decide(act()).rule == "policy.cedar:line 3"


@pytest.mark.parametrize(
    ("scope", "fits"),
    [
        ('action in Action::"aws"', True),
        ('action in Action::"aws:s3"', True),
        ('action == Action::"aws:s3:GetObject"', True),
        ('action in [Action::"aws:lambda", Action::"aws:s3"]', True),
        ('action in Action::"aws:lambda"', False),
        ('action in Action::"http"', False),
        ('action == Action::"aws:s3:PutObject"', False),
    ],
)
def test_groups_of_actions(scope: str, fits: bool) -> None:
    decision = policy(f"permit (principal, {scope}, resource);").decide(act())
    assert (decision.outcome == "allow") is fits


def test_who_acts_and_with_which_credential() -> None:
    rule = (
        'permit (principal == Kernel::"keyless", action, resource == Credential::"work") '
        'when { principal.notebook like "work/*" && principal.level == "namespaces" };'
    )
    assert policy(rule).decide(act()).outcome == "allow"
    assert policy(rule, principal=Principal("other", "work/a", "namespaces")).decide(
        act()
    ).outcome == ("deny")
    other = Act("exec", "aws", "prod", False, {})
    assert policy(rule).decide(other).outcome == "deny"


# ------------------------------------------------------------------ what isn't known

FORBID_PROD = (
    '@id("no-prod") forbid (principal, action, resource) '
    'when { context.resource like "arn:aws:s3:::prod/*" };'
)


def test_a_forbid_that_lacks_a_fact_denies() -> None:
    decision = policy(ALLOW, FORBID_PROD).decide(act())
    assert (decision.outcome, decision.rule) == ("deny", "policy.cedar:no-prod")
    assert "'resource' is not known" in decision.reason
    assert policy(ALLOW, FORBID_PROD).decide(act(resource="arn:aws:s3:::x/y")).outcome == "allow"


def test_an_ask_that_lacks_a_fact_denies() -> None:
    ask = '@outcome("ask") permit (principal, action, resource) when { context.region == "x" };'
    assert policy(ALLOW, ask).decide(act()).outcome == "deny"


def test_a_permit_that_lacks_a_fact_does_not_count() -> None:
    rule = 'permit (principal, action, resource) when { context.region == "x" };'
    assert policy(rule).decide(act()).rule == "policy.cedar:none"
    assert "'region' is not known" in policy(rule).decide(act()).reason
    assert policy(rule, ALLOW).decide(act()).outcome == "allow"


def test_a_rule_may_say_that_a_fact_need_not_be_known() -> None:
    rule = FORBID_PROD.replace(
        "context.resource like", "context has resource && context.resource like"
    )
    assert policy(ALLOW, rule).decide(act()).outcome == "allow"


FORBID_PARAMETER = (
    'forbid (principal, action, resource) when { context.parameters.ACL like "public*" };'
)


@pytest.mark.parametrize(
    ("attributes", "outcome"),
    [
        ({"parameters": {}}, "allow"),  # not given
        ({"parameters": {"ACL": "private"}}, "allow"),
        ({"parameters": {"ACL": "public-read"}}, "deny"),
        ({"parameters": {}, "unknown_parameters": ("ACL",)}, "deny"),
        ({"parameters": {}, "unknown_parameters": ("Body",)}, "allow"),
        ({"parameters": {}, "unknown_parameters": ("*",)}, "deny"),
        ({"parameters": {"ACL": "private"}, "unknown_parameters": ("*",)}, "allow"),
        ({"parameters": {"ACL": "private" * 9999}}, "deny"),
        ({"parameters": {"ACL": "\ud800"}}, "deny"),
    ],
)
def test_parameters_not_given_and_not_known(attributes: dict[str, Any], outcome: str) -> None:
    assert policy(ALLOW, FORBID_PARAMETER).decide(act(**attributes)).outcome == outcome


def test_parameters_that_nobody_read_are_not_known() -> None:
    bare = Act("aws:s3:PutObject", "aws", "", True, {"exposure": ""})
    assert policy(ALLOW, FORBID_PARAMETER).decide(bare).outcome == "deny"
    assert policy(ALLOW, FORBID_PARAMETER).decide(Act("exec", "gh")).outcome == "allow"


def test_whether_it_changes_something_is_yes_unless_known() -> None:
    rule = "permit (principal, action, resource) when { !context.mutating };"
    assert policy(rule).decide(Act("exec", "x", "", None)).outcome == "deny"
    assert policy(rule).decide(Act("exec", "x", "", True)).outcome == "deny"
    assert policy(rule).decide(Act("exec", "x", "", False)).outcome == "allow"


def test_an_aws_act_whose_exposure_nobody_told_is_denied_by_default() -> None:
    default = CedarPolicy(built_in_text("default"), PRINCIPAL, "default")
    bare = Act("aws:s3:ListBuckets", "aws", "", False, {"parameters": {}})
    assert default.decide(bare).outcome == "deny"


@pytest.mark.parametrize(
    "action",
    [
        "",
        "aws",
        "aws:s3",
        "aws:s3:GetObject+aws:s3:DeleteObject",
        "aws:s3:GetObject ",
        "aws:S3:GetObject",
        "http:get",
        "http:GET\n",
        "exec:x",
        'x"',
        "\ud800",
        "policy0",
    ],
)
def test_what_is_no_single_action_is_denied(action: str) -> None:
    assert policy(ALLOW).decide(act(action)).rule == "policy.action"


@pytest.mark.parametrize(
    "attributes",
    [
        {"argv": "a string"},
        {"argv": [1]},
        {"region": 5},
        {"exposure": ["x"]},
        {"isolated": "yes"},
        {"execution_count": True},
        {"parameters": {"ACL": 1}},
        {"parameters": 7},
        {"unknown_parameters": None},
    ],
)
def test_facts_of_a_wrong_type_are_denied(attributes: dict[str, Any]) -> None:
    decision = policy(ALLOW, FORBID_PARAMETER).decide(act(**attributes))
    assert (decision.outcome, decision.rule) == ("deny", "policy.error")


def test_the_method_is_the_one_of_the_action() -> None:
    rule = 'permit (principal, action, resource) when { context.method == "GET" };'
    assert policy(rule).decide(act("http:POST", method="GET")).outcome == "deny"


def test_argv() -> None:
    rule = 'forbid (principal, action, resource) when { context.argv.contains("--force") };'
    decide = policy(ALLOW, rule).decide
    assert decide(Act("exec", "x", attributes={"argv": ["a", "b"]})).outcome == "allow"
    assert decide(Act("exec", "x", attributes={"argv": ["a", "--force"]})).outcome == "deny"
    assert decide(Act("exec", "x", attributes={"argv": ["a" * 70_000]})).outcome == "deny"
    assert decide(Act("exec", "x")).outcome == "deny"


@pytest.mark.parametrize(
    "condition",
    [
        "context.execution_count == 7",
        'context["execution_count"] == 7',
        'context["execution\\u{5f}count"] == 7',
        "context has execution_count && context.execution_count == 7",
        "if context.mutating then false else context.execution_count > 6",
        "[context.execution_count].contains(7)",
    ],
)
def test_what_a_cell_is_counts_however_a_rule_asks_for_it(condition: str) -> None:
    rules = policy(
        ALLOW, f'@id("seventh") forbid (principal, action, resource) when {{{condition}}};'
    )
    asked = [rules.decide(act(execution_count=count, cell_hash="a")) for count in (1, 7, 1, 7)]
    assert [decision.outcome for decision in asked] == ["allow", "deny"] * 2
    assert asked[1].rule == "policy.cedar:seventh"


def test_a_rule_that_only_asks_whether_a_cell_is_known() -> None:
    rules = policy(ALLOW, "forbid (principal, action, resource) when { context has cell_hash };")
    assert rules.decide(act(cell_hash="a")).outcome == "deny"
    assert rules.decide(act()).outcome == "allow"


# ------------------------------------------------------------------ anything at all

TEXTS = st.one_of(
    st.text(max_size=40),
    st.text(alphabet=st.characters(), max_size=20),
    st.sampled_from(["\ud800", "\0", '"', "\\", "\u202e", "__entity", "__extn", "x" * 10_000]),
)
VALUES = st.one_of(
    TEXTS,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.lists(TEXTS, max_size=3),
    st.dictionaries(TEXTS, st.one_of(TEXTS, st.integers()), max_size=3),
)
NAMES = st.sampled_from(
    ["region", "resource", "host", "path", "argv", "parameters", "exposure", "isolated"]
) | st.sampled_from(
    ["execution_count", "unknown_parameters", "credential_kind", "allow_listed", "method"]
)
ACTIONS = st.one_of(
    TEXTS, st.sampled_from(["exec", "session", "http:GET", "aws:s3:GetObject", "postgres:connect"])
)
ACTS = st.builds(
    Act,
    action=ACTIONS,
    tool=TEXTS,
    credential=TEXTS,
    mutating=st.one_of(st.none(), st.booleans()),
    attributes=st.dictionaries(st.one_of(NAMES, TEXTS), VALUES, max_size=5),
)

EMPTY = policy()
DENIES = policy(ALLOW, DENY, ASK)
BUILT_IN = [CedarPolicy(built_in_text(name), PRINCIPAL, name) for name in EXAMPLES]


@given(ACTS)
def test_no_act_raises_or_passes_an_empty_policy(any_act: Act) -> None:
    assert EMPTY.decide(any_act).outcome == "deny"


@given(ACTS)
def test_no_act_passes_a_forbid(any_act: Act) -> None:
    assert DENIES.decide(any_act).outcome == "deny"


@given(ACTS)
def test_no_act_upsets_a_policy_or_its_refusal(any_act: Act) -> None:
    for built_in in BUILT_IN:
        decision = built_in.decide(any_act)
        assert isinstance(decision, Decision)
        if decision.outcome != "allow":
            assert decision.rule in refusal_text(decision, any_act)


FAR = (ALLOW, '@id("far") forbid (principal, action, resource) when { context.host == "a" };')
HOSTS = policy(*FAR)


@given(ACTS, st.sampled_from(["a", "b", "", "A", "\\u0061"]), st.booleans())
def test_no_answer_depends_on_what_was_asked_before(any_act: Act, host: str, again: bool) -> None:
    for each in (any_act, act(host=host), *([any_act] if again else [])):
        assert HOSTS.decide(each) == policy(*FAR).decide(each)


@given(st.sampled_from(["region", "resource", "host"]), TEXTS, TEXTS)
def test_a_fact_is_compared_as_it_is(name: str, value: str, other: str) -> None:
    """No value closes a string, or becomes something else than text, on its way to Cedar."""
    rule = f'permit (principal, action, resource) when {{ context.{name} == "needle" }};'
    decision = policy(rule).decide(act(**{name: value}, tool=other))
    assert (decision.outcome == "allow") is (value == "needle")


def test_threads_share_a_policy() -> None:
    shared = CedarPolicy(built_in_text("default"), PRINCIPAL, "default")
    wrong: list[Decision] = []

    def work(mutating: bool) -> None:
        for _ in range(300):
            facts = {"exposure": "", "parameters": {}, "delivery": "proxy"}
            one = Act("aws:s3:PutObject", "aws", "w", mutating, facts)
            decision = shared.decide(one)
            if decision.outcome != ("ask" if mutating else "allow"):
                wrong.append(decision)

    threads = [threading.Thread(target=work, args=(number % 2 == 0,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    "refused",
    [
        act("aws:lambda:UpdateFunctionCode", parameters={"FunctionName": "orders"}),
        act("aws:s3:GetObject", resource='arn:aws:s3:::b/x"} || true || {"'),
        act("aws:s3:GetObject", resource="arn:aws:s3:::b/k"),
        act("http:POST", host="api.example.org", path="/v1/x"),
        act("http:POST", host="api.example.org", path='/"];}'),
        Act("exec", 'g"h\n'),
        Act("session", "kernel", "we\u202eird\x07"),
    ],
)
def test_what_a_refusal_says_to_paste_allows_the_act(refused: Act) -> None:
    """And the text of a hostile act stays within the quotation marks."""
    empty = policy()
    text = refusal_text(empty.decide(refused), refused)
    _, _, statement = text.partition("\n")
    pasted = CedarPolicy(statement, PRINCIPAL)
    assert len(pasted.rules) == 1
    assert pasted.decide(refused).outcome == "allow"
    unrelated = act("aws:ec2:TerminateInstances")
    assert pasted.decide(unrelated).outcome == "deny"


@pytest.mark.parametrize("name", ["changes", "iam"])
def test_what_a_refusal_says_to_change_allows_the_act(name: str) -> None:
    exposure = "iam" if name == "iam" else ""
    refused = Act(
        "aws:iam:CreateRole", "aws", "work", True,
        {"exposure": exposure, "parameters": {"RoleName": "r"}},
    )  # fmt: skip
    default = CedarPolicy(built_in_text("default"), PRINCIPAL, "default")
    decision = default.decide(refused)
    assert decision.rule == f"default.{name}"
    lines = refusal_text(decision, refused).splitlines()
    assert "jupyter keyless policy init" in lines[0]
    rule = next(rule for rule in default.rules if rule.name == name)
    mended = rule.text.removesuffix(";") + lines[1] + ";"
    text = built_in_text("default").replace(rule.text, mended) + "\n".join(lines[3:])
    changed = CedarPolicy(text, PRINCIPAL)
    assert changed.decide(refused).outcome == "allow"
    other = Act(
        refused.action, "aws", "work", True, {**refused.attributes, "parameters": {"RoleName": "s"}}
    )
    assert changed.decide(other).outcome != "allow"


def test_a_principal_without_a_name_of_its_own_is_no_open_door() -> None:
    nobody = Principal("")
    rule = 'forbid (principal, action, resource) when { principal.notebook like "prod/*" };'
    assert policy(ALLOW, rule, principal=nobody).decide(act()).outcome == "deny"


def test_an_invalid_policy_is_no_policy() -> None:
    with pytest.raises(PolicyInvalid):
        policy("permit (principal, action, resource")
