"""The vault in the running sidecar: slow sources hold up nobody, patterns know what was used."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from unittest import mock

import pytest

from keyless_sidecar.keeper import Keeper
from keyless_sidecar.sanitize import sanitize_text
from keyless_sidecar.vault import (
    Declaration,
    Entry,
    FileSource,
    MemorySource,
    Vault,
    VaultError,
    parse_declaration,
    remotes,
)
from keyless_sidecar.vault.sources import ConfigSource

SECRET = "q7Zr-Kw92_xTnB4vLm8c"
OTHER = "Hk3pWq8s-ZtYv61_NdRj"
COMMAND = {"kind": "token", "source": "command", "argv": ["/bin/give"], "tools": ["gh"]}


class Plane:
    """Stands in for a control plane: counts, and answers when it is let."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.calls: list[str] = []
        self.asked = threading.Event()
        self.let = threading.Event()
        self.let.set()

    def __call__(self, declaration: Declaration, _: object) -> Entry:
        self.calls.append(declaration.info.name)
        self.asked.set()
        assert self.let.wait(30)
        try:
            return Entry.of(declaration.info, {"value": self.values[declaration.info.name]})
        except KeyError:
            raise VaultError("the plane is down") from None


@pytest.fixture
def plane() -> Plane:
    return Plane()


@contextlib.asynccontextmanager
async def keeping(plane: Plane, *kept: Entry) -> AsyncIterator[tuple[Keeper, MemorySource]]:
    memory = MemorySource(kept)
    declared = ConfigSource([parse_declaration(name, COMMAND) for name in ("slow", "other")])
    keeper = Keeper(Vault([memory, declared]))
    with mock.patch.object(remotes, "fetch_command", plane):
        try:
            yield keeper, memory
        finally:
            plane.let.set()
            keeper.close()


async def until(happened: threading.Event) -> None:
    assert await asyncio.to_thread(happened.wait, 30)


async def hidden(keeper: Keeper, value: str) -> bool:
    return value not in sanitize_text(await keeper.patterns(), value)[0]


async def test_a_slow_source_holds_up_nobody_else(plane: Plane) -> None:
    plane.let.clear()
    plane.values = {"slow": SECRET}
    async with keeping(plane, Entry("gh", "token", {"value": OTHER}, ("gh",))) as (keeper, _):
        slow = asyncio.ensure_future(keeper.fetch(["slow"]))
        await until(plane.asked)
        entries, patterns = await keeper.fetch(["gh"])
        assert entries[0].fields["value"] == OTHER
        assert OTHER not in sanitize_text(patterns, OTHER)[0]
        assert [info.name for info in await keeper.infos()] == ["gh", "other", "slow"]
        assert not slow.done()
        plane.let.set()
        entries, patterns = await slow
        assert entries[0].fields["value"] == SECRET
        assert SECRET not in sanitize_text(patterns, SECRET)[0]


async def test_listing_and_patterns_ask_nobody(plane: Plane) -> None:
    async with keeping(plane) as (keeper, _):
        await keeper.infos()
        await keeper.patterns()
        assert plane.calls == []
        with pytest.raises(VaultError, match="plane is down"):
            await keeper.fetch(["slow"])
        await keeper.patterns()
        assert await keeper.infos()


async def test_old_values_of_a_rotation_stay_known(plane: Plane) -> None:
    async with keeping(plane, Entry("gh", "token", {"value": OTHER}, ("gh",))) as (keeper, memory):
        plane.values["slow"] = SECRET
        await keeper.entry("slow")
        plane.values["slow"] = "Zz81-mmQ7_pLw92KvTr4"
        assert (await keeper.entry("slow")).fields["value"] == "Zz81-mmQ7_pLw92KvTr4"
        await keeper.entry("gh")
        memory.remove("gh")
        with pytest.raises(VaultError, match="no credential 'gh'"):
            await keeper.entry("gh")
        for value in (SECRET, "Zz81-mmQ7_pLw92KvTr4", OTHER):
            assert await hidden(keeper, value)


async def test_who_asks_at_the_same_time_gets_one_answer(plane: Plane) -> None:
    plane.let.clear()
    plane.values = {"slow": SECRET, "other": OTHER}
    async with keeping(plane) as (keeper, _):
        first = asyncio.ensure_future(keeper.entry("slow"))
        await until(plane.asked)
        more = [asyncio.ensure_future(keeper.entry("slow")) for _ in range(50)]
        await asyncio.sleep(0.05)  # a list that was just made would be good enough
        await keeper.infos()  # behind all of them in the one thread's queue
        first.cancel()  # the others get the answer all the same
        plane.let.set()
        assert {entry.fields["value"] for entry in await asyncio.gather(*more)} == {SECRET}
        assert plane.calls == ["slow"]
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_removal_while_it_is_fetched(tmp_path: Path, plane: Plane) -> None:
    folder = tmp_path / "k"
    source = FileSource(folder)
    source.add(parse_declaration("slow", COMMAND))
    keeper = Keeper(Vault([FileSource.open(folder)]))
    plane.let.clear()
    plane.values = {"slow": SECRET}
    with mock.patch.object(remotes, "fetch_command", plane):
        under_way = asyncio.ensure_future(keeper.entry("slow"))
        await until(plane.asked)
        source.remove("slow")
        plane.let.set()
        with pytest.raises(VaultError, match="no credential 'slow'"):
            await under_way
        with pytest.raises(VaultError, match="no credential 'slow'"):
            await keeper.entry("slow")
    assert plane.calls == ["slow"]
    keeper.close()


async def test_a_held_answer_ends_with_its_entry(tmp_path: Path, plane: Plane) -> None:
    folder = tmp_path / "k"
    source = FileSource(folder)
    source.add(parse_declaration("slow", {**COMMAND, "cache": 600}))
    keeper = Keeper(Vault([FileSource.open(folder)]))
    plane.values = {"slow": SECRET}
    with mock.patch.object(remotes, "fetch_command", plane):
        await keeper.entry("slow")
        await keeper.entry("slow")
        assert plane.calls == ["slow"]
        source.add(parse_declaration("slow", {**COMMAND, "argv": ["/bin/x"]}), replace=True)
        await keeper.entry("slow")
        assert plane.calls == ["slow", "slow"]
        source.remove("slow")
        with pytest.raises(VaultError):
            await keeper.entry("slow")
    keeper.close()


async def test_abandoned_fetches_leave_no_noise(
    plane: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    plane.let.clear()
    async with keeping(plane) as (keeper, _):
        only = asyncio.ensure_future(keeper.entry("slow"))
        await until(plane.asked)
        only.cancel()
        with pytest.raises(asyncio.CancelledError):
            await only
        plane.let.set()
        await _landed(lambda: not keeper._flights)
    assert caplog.text == ""


async def _landed(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def test_what_is_no_secret_is_known_until_the_vault_changes(
    plane: Plane, tmp_path: Path
) -> None:
    def key(region: str, secret: str) -> Entry:
        fields = {"access_key_id": "AKIA5EXAMPLE5TESTS5Q", "secret_access_key": secret}
        return Entry("cloud", "aws", {**fields, "region": region}, ("sdk",))

    file = FileSource(tmp_path / "vault")
    file.add(key("eu-west-1", SECRET * 2))
    declared = ConfigSource([parse_declaration("slow", COMMAND)])
    keeper = Keeper(Vault([file, declared]))
    plane.values = {"slow": OTHER}
    try:
        with mock.patch.object(remotes, "fetch_command", plane):
            await keeper.infos()
            assert keeper.plain_field("cloud", "region") is None  # nobody has read it
            await keeper.entry("cloud")
            assert keeper.plain_field("cloud", "region") == "eu-west-1"
            assert keeper.plain_field("cloud", "session_token") == ""
            assert keeper.plain_field("cloud", "secret_access_key") == ""
            await keeper.entry("slow")
            assert keeper.plain_field("slow", "region") is None  # it lies elsewhere
            assert (keeper.is_kept("cloud"), keeper.is_kept("slow")) == (True, False)
            file.add(key("us-east-2", OTHER * 2), replace=True)
            await asyncio.sleep(0.05)
            assert keeper.plain_field("cloud", "region") is None
            await keeper.infos()
            assert keeper.plain_field("cloud", "region") is None
            entry = await keeper.entry("cloud")
            assert entry.fields["secret_access_key"] == OTHER * 2
            assert await hidden(keeper, OTHER * 2)
            assert keeper.plain_field("cloud", "region") == "us-east-2"
    finally:
        keeper.close()
