"""A command on a terminal, as the kernel's side of the channel sees it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.sidecar import SECRET, Result, Sidecar, eventually, leaky

from keyless.protocol.messages import Cancel, Exec, Keys, Resize, Terminal

from .conftest import StartSidecar
from .test_sidecar_protocol import closed

TALKER = Path(__file__).parents[1] / "support" / "talker.py"
TOOL = leaky(path=str(TALKER), secret_env={"TALKER_SECRET": "generic:value"}, proc=True)
OPTIONS = {
    "config": {"Tools": {"declared": {"talker": TOOL}, "aws": False, "psql": False}},
    "credentials": [
        {"name": "canary", "kind": "generic", "fields": {"value": SECRET}, "tools": ["talker"]}
    ],
}


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """One for this file."""
    home = tmp_path_factory.mktemp("terminal")
    for folder in (home, *home.parents[:2]):
        folder.chmod(0o755)  # the sandbox's user passes through
    started = Sidecar(home, **OPTIONS)
    assert started.status.get("ready"), started.status
    started.hello()
    yield started
    started.close()


class Talk:
    """One command on a terminal."""

    def __init__(self, sidecar: Sidecar, *argv: str, timeout: float = 30) -> None:
        self._sidecar = sidecar
        self._waits = 0
        self.result = Result()
        self.id = sidecar.start(
            *argv, tool="talker", terminal=Terminal(rows=30, columns=100), timeout=timeout
        )

    def wait(self) -> bool:
        """Until it waits for keys once more; whether they will be echoed."""
        self._waits += 1
        self._sidecar.collect(
            self.id, lambda result: len(result.waiting) >= self._waits, self.result
        )
        assert self.result.end is None, (self.result.end, self.result.stdout)
        return self.result.waiting[-1]

    def until(self, text: str) -> None:
        """Until it has written this."""
        self._sidecar.collect(self.id, lambda result: text in result.stdout, self.result)
        assert text in self.result.stdout, self.result.stdout

    def type(self, keys: str) -> None:
        self._sidecar.send(Keys(id=self.id, data=keys.encode()))

    def end(self) -> Result:
        return self._sidecar.collect(self.id, into=self.result)


def test_a_talk(sidecar: Sidecar) -> None:
    talk = Talk(sidecar, "talk")
    assert talk.wait()
    assert talk.result.stdout == "size 30x100 tty [True, True, True]\nname? "
    sidecar.send(Resize(id=talk.id, rows=50, columns=132))
    talk.type("Zoë\r")
    assert not talk.wait(), "a password isn't echoed"
    assert talk.result.stdout.endswith("name? Zoë\nhello Zoë, size 50x132\npassword for the test: ")
    talk.type("open sesame\r")
    result = talk.end()
    assert result.finished.exit_code == 0
    assert "11 characters\ntoken=[redacted:canary]\n" in result.stdout
    assert "open sesame" not in result.stdout
    assert SECRET[9:] not in result.stdout
    assert result.finished.redactions == {"canary": 2}
    assert result.stderr == ""


@pytest.mark.attack(
    wall="audit without secrets", title="Find in the audit what a person typed on a terminal."
)
def test_the_audit_counts_keys_and_keeps_none(sidecar: Sidecar) -> None:
    talk = Talk(sidecar, "cat")
    talk.wait()
    talk.type("whisper-in-private\r\x04")
    assert talk.end().finished.exit_code == 0
    (asked,) = [r for r in sidecar.records() if r["record_id"] == talk.result.finished.record_id]
    assert asked["fields"]["terminal"] == [30, 100]
    ended = sidecar.records()[-1]
    assert ended["kind"] == "exec.result"
    assert ended["fields"]["typed_bytes"] == 20
    assert not any("whisper" in str(record) for record in sidecar.records())
    sidecar.run("deaf", "0", tool="talker")
    assert sidecar.records()[-1]["fields"]["typed_bytes"] is None


def test_control_c_and_control_d_mean_what_they_mean(sidecar: Sidecar) -> None:
    talk = Talk(sidecar, "cat")
    talk.wait()
    talk.type("one\r")
    talk.until("got one")
    talk.type("half a li\x03")
    talk.until("interrupted")
    talk.type("two\r")
    talk.until("got two")
    talk.type("\x04")
    assert talk.end().stdout.endswith("end after 2\n")
    busy = Talk(sidecar, "work")
    busy.until("working")
    busy.type("\x03")
    assert busy.end().stdout.endswith("stopped\n")
    assert busy.result.waiting == [], "it was seen running"


def test_a_cancel_and_the_time_limit_end_everything(sidecar: Sidecar) -> None:
    talk = Talk(sidecar, "stubborn")
    talk.until("still here")
    for key in "\x03\x04\x1c\x1a":
        talk.type(key)
    begin = time.monotonic()
    sidecar.send(Cancel(id=talk.id))
    assert talk.end().failed.kind == "CommandCancelled"
    assert time.monotonic() - begin < 5
    talk = Talk(sidecar, "stubborn", timeout=1)
    assert talk.end().failed.kind == "CommandTimeout"
    assert eventually(lambda: not _running("talker.py")), "its daemon too"


@pytest.mark.attack(
    wall="a terminal of its own",
    title="Type into the person's terminal, or into that of another command.",
)
def test_its_terminal_is_the_only_one_and_nobody_can_type_into_it(sidecar: Sidecar) -> None:
    talk = Talk(sidecar, "inject")
    said = talk.end().stdout
    assert "TIOCSTI EPERM" in said
    assert "TIOCLINUX EPERM" in said
    assert "dev/tty is mine" in said
    assert "open: ['0', '1', '2']" in said
    assert "session True foreground True" in said


def test_more_than_it_reads_is_dropped_and_said(sidecar: Sidecar) -> None:
    talk = Talk(sidecar, "deaf", "1")
    talk.until("not listening")
    for _ in range(8):
        talk.type("x" * 65536)
    talk.type("\x03")  # overtakes what nobody has read
    result = talk.end()
    assert result.finished.exit_code != 0
    (note,) = [note for note in result.finished.notes if "typed" in note]
    assert note.endswith("typed bytes were dropped: nothing read them.")
    assert sidecar.records()[-1]["fields"]["typed_bytes"] == 8 * 65536 + 1


def test_much_output_needs_credit_and_is_searched(sidecar: Sidecar) -> None:
    talk = Talk(sidecar, "flood", "20000")
    assert talk.wait()
    assert talk.result.stdout.count("token=[redacted:canary]\n") == 20000
    assert talk.result.stdout.endswith("\nmore? ")
    talk.type("\r")
    assert talk.end().finished.redactions == {"canary": 20000}


def test_a_changed_echo_is_reported_while_it_waits(sidecar: Sidecar) -> None:
    talk = Talk(sidecar, "late")
    assert talk.wait()
    assert not talk.wait()
    talk.type("secret\r")
    assert "6 characters" in talk.end().stdout


def test_both_terminal_and_standard_input_are_refused(sidecar: Sidecar) -> None:
    result = sidecar.run("cat", tool="talker", stdin=b"x", terminal=Terminal())
    assert result.failed.kind == "InvalidRequest"
    assert "not both" in result.failed.message


def test_nothing_is_left_of_a_terminal(sidecar: Sidecar) -> None:
    try:
        before = _terminals(sidecar)
    except PermissionError:
        pytest.skip("only a root with all its capabilities sees into the sidecar")
    for _ in range(3):
        talk = Talk(sidecar, "deaf", "0")
        talk.end()
    sidecar.run("nothing", tool="talker", terminal=Terminal(), cwd="no/such/folder")
    assert _terminals(sidecar) == before == 0


@pytest.mark.attack(wall="closed messages", title="Type into a command that has no terminal.")
def test_keys_in_time_and_for_no_terminal(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar(**OPTIONS)
    sidecar.hello()
    done = sidecar.start("deaf", "0", tool="talker", terminal=Terminal())
    sidecar.collect(done)
    sidecar.send(Keys(id=done, data=b"late\r"), Resize(id=done, rows=1, columns=1))  # harmless
    plain = sidecar.next_id()
    sidecar.send(Exec(id=plain, tool="talker", argv=["deaf", "9"]), Keys(id=plain, data=b"x"))
    assert "terminal that was not asked for" in closed(sidecar)


def test_keys_before_their_command_end_the_connection(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar(**OPTIONS)
    sidecar.hello()
    sidecar.send(Keys(id=7, data=b"x"))
    assert "Keys for a request that never came" in closed(sidecar)


def _terminals(sidecar: Sidecar) -> int:
    """Ends of terminals that the sidecar has open."""
    folder = Path(f"/proc/{sidecar.process.pid}/fd")
    return sum("pt" in str(entry.readlink()) for entry in folder.iterdir())


def _running(name: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and name.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found
