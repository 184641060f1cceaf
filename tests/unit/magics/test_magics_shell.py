"""The magics in a real IPython shell, against a fake sidecar."""

from __future__ import annotations

import hashlib
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import keyless
from keyless.magics.results import ExecResult, ExecResults
from keyless.protocol.errors import CommandFailed, SidecarUnavailable
from keyless.protocol.messages import Exec, Failed, Output, Started

Channel = Any  # the fake sidecar of conftest.py


class Ran:
    """What a cell did: its value, its error, and all that a notebook would show of it."""

    def __init__(self, shell: InteractiveShell, cell: str) -> None:
        with capture_output() as captured:
            done = shell.run_cell(cell, store_history=True)  # type: ignore[no-untyped-call]
        self.value: Any = done.result
        self.error = done.error_before_exec or done.error_in_exec
        self.out = captured.stdout
        self.err = captured.stderr
        # The terminal shell writes the prompt before it asks what to show.
        self.shown = re.sub(r"Out\[\d+\]: ", "", self.out)

    @property
    def ok(self) -> bool:
        return self.error is None


def fails(code: int, text: str = "An error occurred (AccessDenied)\n") -> Any:
    def on_exec(channel: Channel, request: Exec) -> None:
        channel.send(
            Started(id=request.id, record_id="r1"),
            Output(id=request.id, stream="stdout", data="partial\n"),
            Output(id=request.id, stream="stderr", data=text),
        )
        channel.finish(request, exit_code=code)

    return on_exec


def test_a_cell_prints_live_and_gives_a_result(channel: Channel, shell: InteractiveShell) -> None:
    ran = Ran(shell, "%%secure_exec aws --timeout 60\nsts get-caller-identity --query 'a[0]'\n")
    assert isinstance(ran.value, ExecResult)
    assert ran.value.stdout == "sts get-caller-identity --query a[0]\n"
    assert ran.out.startswith("sts get-caller-identity")
    assert ran.out.count("get-caller-identity") == 1
    assert "aws: done, 0.25 s, record k1-000001" in ran.out
    (request,) = channel.execs()
    assert request.argv == ["sts", "get-caller-identity", "--query", "a[0]"]
    assert (request.tool, request.timeout, request.credentials) == ("aws", 60.0, None)


def test_a_line_can_be_assigned(channel: Channel, shell: InteractiveShell) -> None:
    ran = Ran(shell, "who = %secure_exec --quiet aws sts get-caller-identity\nwho.exit_code")
    assert ran.value == 0
    assert "caller" not in ran.out


def test_the_audit_learns_which_cell_asks(channel: Channel, shell: InteractiveShell) -> None:
    cell = "%%secure_exec aws\ns3 ls\n"
    count = shell.execution_count
    Ran(shell, cell)
    (request,) = channel.execs()
    assert request.cell.execution_count == count
    assert request.cell.cell_hash == hashlib.sha256(cell.encode()).hexdigest()


def test_nothing_is_expanded(channel: Channel, shell: InteractiveShell) -> None:
    shell.user_ns["bucket"] = "secret"
    Ran(shell, "%secure_exec aws s3 ls s3://{bucket}/ '$bucket'")
    Ran(shell, "%%secure_exec aws\ns3 ls {bucket}")
    assert [r.argv for r in channel.execs()] == [
        ["s3", "ls", "s3://{bucket}/", "$bucket"],
        ["s3", "ls", "{bucket}"],
    ]


def test_several_commands_run_in_order_and_stop_at_a_failure(
    channel: Channel, shell: InteractiveShell
) -> None:
    good = Ran(shell, "%%secure_exec aws\na\n\n# no\nb \\\n  c\n")
    assert isinstance(good.value, ExecResults)
    assert [r.argv for r in good.value] == [("a",), ("b", "c")]
    channel.on_exec = lambda request: (
        fails(4)(channel, request) if request.argv == ["bad"] else channel.echo(request)
    )
    bad = Ran(shell, "%%secure_exec aws --out kept\ngood\nbad\nnever\n")
    assert isinstance(bad.error, CommandFailed)
    assert [r.exit_code for r in shell.user_ns["kept"]] == [0, 4]
    soft = Ran(shell, "%%secure_exec aws --no-raise\nbad\nnever\n")
    assert [r.exit_code for r in soft.value] == [4]
    assert ["never"] not in [r.argv for r in channel.execs()]


def test_a_mistake_in_the_last_line_stops_the_cell_before_the_first(
    channel: Channel, shell: InteractiveShell
) -> None:
    ran = Ran(shell, "%%secure_exec aws\ns3 rm s3://a/b\ns3 ls | head\n")
    assert type(ran.error).__name__ == "InvalidRequest"
    assert channel.execs() == []


def test_a_non_zero_exit_is_an_error_of_one_line(channel: Channel, shell: InteractiveShell) -> None:
    channel.on_exec = lambda request: fails(254)(channel, request)
    ran = Ran(shell, "%%secure_exec aws\ns3 ls\n")
    assert isinstance(ran.error, CommandFailed)
    assert ran.error.result.stdout == "partial\n"
    assert "An error occurred" in ran.err
    line = "CommandFailed: aws ended with exit code 254: An error occurred (AccessDenied)"
    assert ran.out.splitlines() == ["partial", line]
    soft = Ran(shell, "%%secure_exec aws --no-raise\ns3 ls\n")
    assert soft.ok
    assert soft.value.exit_code == 254


@pytest.mark.parametrize(
    "kind", ["PolicyDenied", "CommandTimeout", "ToolNotFound", "OutputLimitExceeded"]
)
def test_a_refusal_is_an_error_of_one_line(
    channel: Channel, shell: InteractiveShell, kind: Any
) -> None:
    channel.on_exec = lambda request: channel.send(
        Failed(id=request.id, kind=kind, message="no: do that instead", record_id="r7")
    )
    ran = Ran(shell, "%%secure_exec aws --no-raise --out r\ns3 ls\n")
    assert type(ran.error).__name__ == kind
    assert ran.out.splitlines() == [f"{kind}: no: do that instead"]
    assert shell.user_ns["r"].exit_code is None
    assert shell.user_ns["r"].record_id == "r7"


@pytest.mark.parametrize(
    "cell",
    [
        "%%secure_exec aws",
        "%%secure_exec aws\n",
        "%%secure_exec aws s3 ls",
        "%%secure_exec",
        "%%secure_exec aws\ns3 'ls",
        "%%secure_exec aws\ns3 ls > f",
        "%%secure_exec aws --timeout 0\ns3 ls",
        "%%secure_exec aws --timeout -1\ns3 ls",
        "%%secure_exec aws --interactive\ns3 ls",
        "%%secure_exec aws --stdin nothing_there\ns3 ls",
        "%%secure_exec aws\n" + "A" * 10_000_000,
        "%%secure_exec aws\n" + "A" * 500_000,
        "%secure_exec",
        "%secure_exec aws s3 ls; id",
        "get_ipython().run_cell_magic('secure_exec', 'aws', 'a\\0b')",
    ],
)
def test_bad_input_is_an_error_of_one_line_and_never_a_usage_error(
    channel: Channel, shell: InteractiveShell, cell: str
) -> None:
    ran = Ran(shell, cell)
    assert type(ran.error).__name__ == "InvalidRequest"
    assert len(ran.out.splitlines()) == 1
    assert ran.out.startswith("InvalidRequest: ")
    assert len(ran.out) < 500
    assert channel.execs() == []
    (refusal,) = channel.refusals()
    assert ran.out.strip() == f"InvalidRequest: {refusal.refused}"
    assert ran.error.record_id == f"k1-{refusal.id:06}"
    assert refusal.dry_run
    assert refusal.argv == []
    assert Ran(shell, "%secure_exec aws s3 ls").ok


@pytest.mark.parametrize("cell", ["%keyless nonsense", "%keyless tools all"])
def test_a_wrong_part_of_keyless_is_an_error_of_one_line(
    channel: Channel, shell: InteractiveShell, cell: str
) -> None:
    ran = Ran(shell, cell)
    assert ran.out.startswith("InvalidRequest: ")
    assert len(ran.out.splitlines()) == 1


def test_the_record_of_a_mistake_names_the_tool_and_the_cell(
    channel: Channel, shell: InteractiveShell
) -> None:
    Ran(shell, "%%secure_exec --timeout 5 aws --quiet\ns3 ls | head\n")
    Ran(shell, "%%secure_exec --bogus")
    first, second = channel.refusals()
    assert (first.tool, second.tool) == ("aws", "(none)")
    assert first.cell.cell_hash


def test_a_mistake_is_reported_when_the_sidecar_is_gone_too(
    channel: Channel, shell: InteractiveShell
) -> None:
    channel.hang_up()
    ran = Ran(shell, "%%secure_exec aws\ns3 ls | head\n")
    assert ran.out.startswith("InvalidRequest: ")
    assert ran.error.record_id == ""


def test_out_binds_and_quiet_shows_nothing(channel: Channel, shell: InteractiveShell) -> None:
    ran = Ran(shell, "%%secure_exec aws --out listing --quiet\ns3 ls\n")
    assert (ran.shown, ran.err) == ("", "")
    assert shell.user_ns["listing"].stdout == "s3 ls\n"
    assert "aws: done" in Ran(shell, "listing").out
    many = Ran(shell, "%%secure_exec aws --quiet\ns3 ls\ns3 ls\n")
    assert (many.shown, len(many.value)) == ("", 2)


@pytest.mark.parametrize("value", ["text é\n", b"\x00\xff", bytearray(b"x")])
def test_stdin_comes_from_a_variable(channel: Channel, shell: InteractiveShell, value: Any) -> None:
    shell.user_ns["data"] = value
    assert Ran(shell, "%%secure_exec aws --stdin data\ns3 cp - s3://b/k\n").ok
    assert Ran(shell, "%secure_exec aws s3 ls").ok  # so the input has arrived
    assert channel.stdin() == (value.encode() if isinstance(value, str) else bytes(value))


@pytest.mark.parametrize(("value", "says"), [(3, "text or bytes"), (None, "is None")])
def test_stdin_of_another_kind_is_refused(
    channel: Channel, shell: InteractiveShell, value: Any, says: str
) -> None:
    shell.user_ns["data"] = value
    ran = Ran(shell, "%%secure_exec aws --stdin data\ns3 cp - s3://b/k\n")
    assert says in str(ran.error)


def test_all_options_reach_the_sidecar(channel: Channel, shell: InteractiveShell) -> None:
    Ran(shell, "%%secure_exec aws --credentials a,b --no-isolated --cwd sub --dry-run\ns3 ls\n")
    (request,) = channel.execs()
    assert request.credentials == ["a", "b"]
    assert (request.isolated, request.cwd, request.dry_run) == (False, "sub", True)


@pytest.fixture
def interrupts() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_cancels_and_leaves_the_shell_usable(
    channel: Channel, shell: InteractiveShell, interrupts: None
) -> None:
    main = threading.main_thread().ident or 0

    def endless(request: Exec) -> None:
        channel.send(Output(id=request.id, stream="stdout", data="working\n"))
        threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT)).start()
        threading.Timer(
            0.4,
            channel.send,
            (Failed(id=request.id, kind="CommandCancelled", message="cancelled"),),
        ).start()

    channel.on_exec = endless
    ran = Ran(shell, "%%secure_exec aws\ns3 sync a b\nnever\n")
    assert isinstance(ran.error, KeyboardInterrupt)
    assert ran.out == "working\nKeyboardInterrupt: the command was cancelled\n"
    assert channel.cancelled() == [1]
    channel.on_exec = channel.echo
    assert Ran(shell, "%secure_exec aws s3 ls").ok
    assert len(channel.execs()) == 2


def test_the_sidecar_dies_midway(channel: Channel, shell: InteractiveShell) -> None:
    def die(request: Exec) -> None:
        channel.send(Output(id=request.id, stream="stdout", data="half\n"))
        channel.hang_up()

    channel.on_exec = die
    ran = Ran(shell, "%%secure_exec aws\ns3 ls\n")
    assert isinstance(ran.error, SidecarUnavailable)
    first, second = ran.out.splitlines()
    assert first == "half"
    assert second.startswith("SidecarUnavailable: ")
    assert "restart the kernel" in second
    assert Ran(shell, "1 + 1").value == 2


@pytest.mark.usefixtures("no_channel")
@pytest.mark.parametrize(
    "cell",
    [
        "%%secure_exec aws\ns3 ls",
        "%secure_exec aws s3 ls",
        "%keyless",
        "%keyless why aws s3 ls",
        "from keyless import secure_exec\nsecure_exec('aws', 's3 ls')",
    ],
)
def test_elsewhere_it_says_which_kernel_to_start(shell: InteractiveShell, cell: str) -> None:
    ran = Ran(shell, cell)
    assert isinstance(ran.error, SidecarUnavailable)
    assert ran.out.startswith("SidecarUnavailable: this code doesn't run in a Keyless kernel")


def test_keyless_shows_the_status(channel: Channel, shell: InteractiveShell) -> None:
    ran = Ran(shell, "%keyless")
    for part in ("namespaces", "No network.", "/workspace", "commands run: 3", "memory"):
        assert part in ran.out
    html = ran.value._repr_mimebundle_()["text/html"]
    assert "&lt;b&gt;No&lt;/b&gt; host files." in html


def test_keyless_tools_and_help(channel: Channel, shell: InteractiveShell) -> None:
    tools = Ran(shell, "%keyless tools")
    assert "the tool's own process, while it runs" in tools.out
    assert "AWS &lt;CLI&gt;" in tools.value._repr_mimebundle_()["text/html"]
    assert "--no-raise" in Ran(shell, "%keyless help").out


def test_why_asks_without_running_and_without_an_error(
    channel: Channel, shell: InteractiveShell
) -> None:
    channel.on_exec = lambda request: channel.finish(request, notes=["rule: default allow"])
    yes = Ran(shell, "%keyless why aws s3 ls 's3://b/*'")
    assert "allowed: aws s3 ls 's3://b/*'" in yes.out
    assert "rule: default allow" in yes.out
    channel.on_exec = lambda request: channel.send(
        Failed(id=request.id, kind="PolicyDenied", message="rule 7 says <no>", record_id="r9")
    )
    no = Ran(shell, "%keyless why aws iam create-access-key")
    assert no.ok
    assert "refused (PolicyDenied)" in no.out
    assert "rule 7 says <no>" in no.out
    assert "&lt;no&gt;" in no.value._repr_mimebundle_()["text/html"]
    assert all(request.dry_run for request in channel.execs())


def test_the_extension_can_be_loaded_twice(channel: Channel, shell: InteractiveShell) -> None:
    before = len(shell.Completer.custom_matchers)
    keyless.load_ipython_extension(shell)
    assert len(shell.Completer.custom_matchers) == before
    assert Ran(shell, "%secure_exec aws s3 ls").ok


def test_the_attack_probes_call_works(channel: Channel, shell: InteractiveShell) -> None:
    """Programs call the magic by name, with a quoted body."""
    with capture_output() as captured:
        body = "--version '; touch x' '$(id)' 'a\nb'"
        shell.run_cell_magic("secure_exec", "aws", body)  # type: ignore[no-untyped-call]
    assert channel.execs()[0].argv == ["--version", "; touch x", "$(id)", "a\nb"]
    assert "touch x" in captured.stdout


def test_the_folder_follows_the_kernel(
    channel: Channel, shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("keyless.magics.checks.WORKSPACE", str(tmp_path))
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    Ran(shell, "%secure_exec aws s3 ls")
    Ran(shell, "%secure_exec --cwd . aws s3 ls")
    assert [request.cwd for request in channel.execs()] == ["sub", ""]
