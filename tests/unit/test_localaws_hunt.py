"""The demo's own search for a key finds it in every form, and nothing where nothing is."""

from __future__ import annotations

import base64
import gzip
import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless.localaws.hunt import forms, hunt

KEY = "q9/Zt+7Vw3eR5uY1oP8aS2dF4gH6jK0lX/cVbNm+"

WAYS: list[Callable[[bytes], bytes]] = [
    lambda b: b,
    lambda b: b[::-1],
    lambda b: b.hex().encode(),
    lambda b: b.hex().upper().encode(),
    lambda b: quote_from_bytes(b, safe="").encode(),
    lambda b: b.replace(b"/", b"\\/"),
    lambda b: b.decode("latin-1").encode("utf-16-le"),
]


@given(
    before=st.binary(max_size=9),
    after=st.binary(max_size=9),
    encode=st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]),
)
def test_every_position_in_base64_is_found(
    before: bytes, after: bytes, encode: Callable[[bytes], bytes]
) -> None:
    text = encode(before + KEY.encode() + after)
    assert any(form in text for form in forms(KEY).values())


@pytest.mark.parametrize("way", WAYS)
def test_every_encoding_is_found(tmp_path: Path, way: Callable[[bytes], bytes]) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"\x00before " + way(KEY.encode()) + b" after\xff")
    traces, count = hunt(tmp_path, {"key": KEY})
    assert count == 1
    assert traces
    assert {trace.path for trace in traces} == {"deep/file"}


def zipped(data: bytes, name: str = "inner") -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return target.getvalue()


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, zipped])
@pytest.mark.parametrize("outer", [None, gzip.compress, zipped])
def test_archives_are_opened(
    tmp_path: Path, pack: Callable[[bytes], bytes], outer: Callable[[bytes], bytes] | None
) -> None:
    data = pack(b"x" * 100 + KEY.encode())
    (tmp_path / "archive").write_bytes(outer(data) if outer else data)
    traces, _ = hunt(tmp_path, {"key": KEY})
    assert traces


def test_names_and_links_are_searched(tmp_path: Path) -> None:
    plain = KEY.replace("/", "_")
    (tmp_path / plain).write_bytes(b"")
    (tmp_path / "link").symlink_to("nowhere/" + plain)
    (tmp_path / "members.zip").write_bytes(zipped(b"", plain))
    traces, _ = hunt(tmp_path, {"key": plain})
    assert {trace.path for trace in traces} == {plain, "link", "members.zip"}


def test_links_are_not_followed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "file").write_text(KEY)
    (inside / "link").symlink_to(outside)
    assert hunt(inside, {"key": KEY}) == ([], 0)


@given(st.binary(max_size=300))
def test_broken_archives_are_just_bytes(data: bytes) -> None:
    from keyless.localaws.hunt import _unpacked

    for head in (b"", b"PK\x03\x04", b"\x1f\x8b\x08", b"\x78\x9c"):
        assert next(iter(_unpacked(head + data, 3))) == head + data
        list(_unpacked(head + data, 3))


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(KEY[:-1] + "x" + KEY[1:])
    assert hunt(tmp_path, {"key": KEY}) == ([], 1)


def test_what_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")

    def refuse(_: Path) -> bytes:
        raise PermissionError("no")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(PermissionError):
        hunt(tmp_path, {"key": KEY})
