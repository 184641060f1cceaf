"""The sidecar's configuration: what is unknown or wrong stops the start."""

from __future__ import annotations

from typing import Any

import pytest

from keyless_sidecar.config import ConfigInvalid, build


def test_defaults() -> None:
    config = build({})
    assert config.tools.max_requests == 16
    assert config.tools.max_files == 10_000
    assert config.tools.allow_not_isolated is False
    assert config.egress.upstreams == {}
    assert config.confinement.minimum == "namespaces"


def test_values_arrive() -> None:
    config = build(
        {
            "Tools": {"declared": {"t": {"path": "/usr/bin/true"}}, "aws": False},
            "Egress": {"upstreams": {"*.amazonaws.com": "http://127.0.0.1:5000"}},
            "Confinement": {"sandbox_uid": 61001},
        }
    )
    assert config.tools.aws is False
    assert config.egress.upstreams == {"*.amazonaws.com": "http://127.0.0.1:5000"}
    assert config.confinement.sandbox_uid == 61001


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"Nosuch": {}}, "c.Nosuch"),
        ({"Tools": {"max_request": 1}}, "c.Tools.max_request"),
        ({"Tools": {"max_requests": 0}}, "max_requests"),
        ({"Tools": {"allow_not_isolated": "yes"}}, "allow_not_isolated"),
        ({"Tools": {"parent": None}}, "c.Tools.parent"),
        ({"Egress": {"upstreams": {"*.a.example": 1}}}, "upstreams"),
        ({"Egress": {"upstreams": {"a b": "http://x"}}}, "upstreams"),
        ({"Egress": {"upstreams": {"*.a.example": "file:///x"}}}, "upstreams"),
        ({"Egress": {"upstreams": {"*.a.example": "http://u:p@x/"}}}, "upstreams"),
        ({"Confinement": {"minimum": "none"}}, "minimum"),
    ],
)
def test_what_is_unknown_or_wrong(values: dict[str, dict[str, Any]], says: str) -> None:
    with pytest.raises(ConfigInvalid, match=says):
        build(values)
