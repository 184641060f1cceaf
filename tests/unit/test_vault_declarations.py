"""What a person writes about entries whose values are elsewhere: what passes, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyless_sidecar.vault import (
    SOURCES,
    Declaration,
    Entry,
    EntryInfo,
    FileSource,
    VaultError,
    parse_declaration,
    parse_declarations,
)
from keyless_sidecar.vault.declarations import parse_settings

SECRET = "q7Zr-Kw92_xTnB4vLm8c"

GOOD: dict[str, dict[str, Any]] = {
    "profile": {"kind": "aws", "source": "aws-profile", "profile": "dev", "tools": ["aws"]},
    "secret": {
        "kind": "postgres",
        "source": "aws-secrets-manager",
        "secret_id": "prod/db",
        "credential": "work",
        "fields": {"database": "dbname", "password": "/db/password"},
    },
    "parameter": {
        "kind": "token",
        "source": "aws-ssm",
        "parameter": "/prod/gh",
        "profile": "dev",
        "region": "eu-west-1",
        "cache": 0,
        "delivery": "proxy",
        "hosts": ["api.github.com", "*.Example.org:8443"],
        "paths": ["/repos/"],
        "places": ["header:Authorization:Bearer"],
    },
    "bao": {
        "kind": "basic",
        "source": "openbao",
        "address": "https://bao.example.org:8200",
        "path": "app/db",
        "app_role": "role",
    },
    "command": {
        "kind": "file",
        "source": "command",
        "argv": ["/usr/local/bin/give", "--for", "me"],
        "file": ".netrc",
        "cache": 60,
    },
    "ring": {"kind": "token", "source": "keyring", "service": "github", "account": "al"},
}


@pytest.mark.parametrize("name", GOOD)
def test_each_source_can_be_declared_and_stored(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = parse_declaration(name, GOOD[name])
    assert made.info.source == GOOD[name]["source"]
    assert parse_settings(made.info, made.plain()) == made.settings
    folder = tmp_path_factory.mktemp("vault") / "k"
    FileSource(folder).add(made)
    stored = FileSource.open(folder).fetch(name)
    assert isinstance(stored, Declaration)
    assert stored.settings == made.settings
    assert (stored.info.hosts, stored.info.paths) == (made.info.hosts, made.info.paths)
    assert stored.info.added
    assert "dev" not in (folder / "vault.json").read_text()  # the settings are encrypted


def test_hosts_are_kept_in_lower_case() -> None:
    made = parse_declaration("gh", GOOD["parameter"])
    assert made.info.hosts == ("api.github.com", "*.example.org:8443")


@pytest.mark.parametrize(
    ("base", "changes", "said"),
    [
        ("profile", {"secret_access_key": SECRET}, "has only these settings"),
        ("profile", {"profil": "dev"}, "has only these settings: profile, region"),
        ("profile", {"kind": "token"}, "goes with kind aws"),
        ("profile", {"kind": SECRET}, "kind is one of"),
        ("profile", {"source": SECRET}, "source is one of aws-profile"),
        ("profile", {"profile": 7}, "Expected `str`"),
        ("profile", {"profile": ""}, "length >= 1"),
        ("profile", {"tools": "aws"}, "Expected `array`"),
        ("profile", {"tools": ["a b"]}, "no proper name"),
        ("profile", {"delivery": SECRET}, "delivery is one of"),
        ("secret", {"profile": "dev"}, "either the profile or the credential"),
        ("secret", {"credential": ""}, "either the profile or the credential"),
        ("secret", {"fields": {"pass": "x"}}, "fields of kind postgres are"),
        ("parameter", {"hosts": []}, "delivery proxy needs the hosts"),
        ("parameter", {"hosts": [f"https://{SECRET}"]}, "a bound host is"),
        ("parameter", {"hosts": ["a..b"]}, "a bound host is"),
        ("parameter", {"paths": ["repos"]}, "starts with /"),
        ("parameter", {"paths": ["/a/../b"]}, "odd parts"),
        ("parameter", {"paths": ["/a%2e"]}, "encoded"),
        ("parameter", {"places": ["header:Host"]}, "can't carry a credential"),
        ("parameter", {"places": ["header:A b"]}, "a place is"),
        ("parameter", {"places": ["cookie"]}, "a place is"),
        ("parameter", {"places": ["query:"]}, "a place is"),
        ("parameter", {"cache": -1}, ">= 0"),
        ("parameter", {"cache": float("nan")}, ""),
        ("bao", {"token": "t"}, "either the token or the app_role"),
        ("bao", {"path": "../sys/seal"}, "plain paths"),
        ("bao", {"path": "a?b"}, "plain paths"),
        ("bao", {"version": 0}, ">= 1"),
        ("command", {"argv": []}, "length >= 1"),
        ("command", {"argv": ["give"]}, "absolute path"),
        ("command", {"argv": "/bin/give x"}, "Expected `array`"),
        ("command", {"argv": ["/bin/give", "a\0b"]}, "no NUL"),
        ("command", {"format": SECRET}, "Not one of the known words"),
        ("command", {"timeout": 3600}, "<= 60"),
        ("command", {"file": "/etc/passwd"}, "below the tool's home"),
        ("command", {"file": "../x"}, "below the tool's home"),
        ("command", {"file": ""}, "needs the file's place"),
        ("command", {"delivery": "proxy", "file": ""}, "no part of a request"),
        ("ring", {"file": ".x"}, "delivery file only"),
    ],
)
def test_what_is_wrong_is_said_and_not_repeated(
    base: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(VaultError) as caught:
        parse_declaration("it", {**GOOD[base], **changes})
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)
    assert str(caught.value).startswith("it: ")


@pytest.mark.parametrize("entries", [[], "x", {"a": []}, {"a b": GOOD["ring"]}, {1: GOOD["ring"]}])
def test_what_is_no_dictionary_of_entries(entries: object) -> None:
    with pytest.raises(VaultError):
        parse_declarations(entries)


_common = ("kind", "source", "tools", "delivery", "hosts", "paths", "places", "file", "extra")
_keys = st.sampled_from(
    [*_common, *sorted({key for kind in SOURCES.values() for key in kind.__struct_fields__})]
)
_plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["aws", "token", *SOURCES, "proxy", "/bin/x", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=10), st.sampled_from(sorted(GOOD)), st.dictionaries(_keys, _plain))
def test_anything_is_a_declaration_or_a_clear_refusal(
    name: str, base: str, values: dict[str, Any]
) -> None:
    try:
        made = parse_declaration(name, {**GOOD[base], **values})
    except VaultError as error:
        said = str(error)
    else:
        assert isinstance(made.info, EntryInfo)
        assert parse_settings(made.info, made.plain()) == made.settings
        return
    assert said
    assert "\n" not in said


def test_old_vaults_are_read_and_new_fields_are_sealed(tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("vault") / "k"
    source = FileSource(folder)
    source.add(Entry("old", "token", {"value": SECRET}, ("gh",)))
    text = (folder / "vault.json").read_text()
    assert "hosts" not in text  # as it was always written
    source.add(Entry("new", "token", {"value": SECRET}, ("gh",), hosts=("api.github.com",)))
    text = (folder / "vault.json").read_text()
    (folder / "vault.json").write_text(text.replace("api.github.com", "api.githud.com"))
    with pytest.raises(VaultError, match="altered"):
        FileSource.open(folder)
