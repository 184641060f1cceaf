"""The packed table of hosts: what was put in is found, and nothing else."""

from __future__ import annotations

from keyless_sidecar.egress.aws.host_table import HostTable, Known


def known(pattern: str, service: str) -> Known:
    return Known(pattern, "aws", service, "name", "us-east-1")


def test_all_that_share_a_pattern_are_found_across_blocks() -> None:
    many = [known("shared.amazonaws.com", f"service{number:03}") for number in range(300)]
    others = [known(f"{number}.amazonaws.com", "ec2") for number in range(500)]
    table = HostTable(each.line for each in (*others, *reversed(many), *others))
    assert len(table) == 800
    assert list(table.get("shared.amazonaws.com")) == many
    assert [list(table.get(each.pattern)) for each in others] == [[each] for each in others]


def test_beginnings_and_neighbours_are_not_found() -> None:
    table = HostTable([known("b.amazonaws.com", "s3").line])
    for wanted in ("", "b", "b.amazonaws.co", "b.amazonaws.com.cn", "a.amazonaws.com", "c"):
        assert not list(table.get(wanted))
    assert not list(HostTable([]).get("b"))


def test_groups_hold_what_is_asked_for() -> None:
    open_label, closed = known("{*}.iot.amazonaws.com", "iot"), known("iot.amazonaws.com", "iot")
    table = HostTable([open_label.line, closed.line])
    assert dict(table.groups("{*}")) == {open_label.pattern: (open_label,)}
    assert len(dict(table.groups())) == 2
