"""Which values the sanitizer refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless_sidecar.sanitize import weakness


@pytest.mark.parametrize(
    "value",
    [b"", b"1234", b"0000", b"true", b"password", b"Password", b"PASSWORD1", b"us-east-1",
     b"eu-central-1", b"aaaaaaaaaaaaaaaa", b"abababababab", b"abcdefghijklm", b"87654321",
     b"20240131", b"2024-01-31", b"production", b"development", b"changeme", b"          x",
     b"localhost", b"11112222", "äöüäöü".encode(), b"4111 1111 11"],
)  # fmt: skip
def test_weak_values_are_refused_with_one_sentence(value: bytes) -> None:
    reason = weakness(value)
    assert reason is not None
    assert reason.endswith(".")
    assert reason.count(". ") == 0
    assert value.decode() not in reason or not value


@pytest.mark.parametrize(
    "value",
    [b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", b"CANARY-q7Zt4KfWm2XrLp9VbNc3",
     b"AKIAIOSFODNN7EXAMPLE", b"550e8400-e29b-41d4-a716-446655440000", b"Tr0ub4dor&3",
     b"correct horse battery staple", b"s3cr3t-v4lue", b"aB3$eF6^",
     "pässwörd-ñandú".encode(), b"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n"],
)  # fmt: skip
def test_strong_values_are_accepted(value: bytes) -> None:
    assert weakness(value) is None


@given(st.binary(max_size=40))
def test_any_bytes_get_an_answer(value: bytes) -> None:
    reason = weakness(value)
    assert reason is None or reason
    if len(value) < 8:
        assert reason
