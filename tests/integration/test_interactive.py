"""``--interactive`` in a real kernel: a front end answers what the cell asks, as a person would."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from tests.support.policies import write_policy
from tests.support.postgres import PASSWORD, Server, binaries, running
from tests.support.sidecar import SECRET, leaky

TALKER = Path(__file__).parents[1] / "support" / "talker.py"


class FrontEnd:
    """A notebook with a person in front of it."""

    def __init__(self, manager: KernelManager) -> None:
        self.manager = manager
        self.client: BlockingKernelClient = manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self._forget()

    def _forget(self) -> None:
        #: What the cell printed, each question (prompt, whether hidden), and its error.
        self.text = ""
        self.asked: list[tuple[str, bool]] = []
        self.error = ""
        self._said = ""

    def run(self, code: str, *answers: Any, stdin: bool = True, timeout: float = 60) -> str:
        """Run a cell; each question gets the next answer, or what a callable makes of it.

        Returns:
            What it printed.
        """
        self._forget()
        waiting = [*answers]
        cell = self.client.execute(code, allow_stdin=stdin)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.client.stdin_channel.msg_ready():
                question = self.client.get_stdin_msg(timeout=1)["content"]
                self.asked.append((question["prompt"], question["password"]))
                answer = waiting.pop(0)
                if callable(answer):
                    answer = answer()
                if answer is not None:
                    self.client.input(answer)
            try:
                message = self.client.get_iopub_msg(timeout=0.05)
            except Empty:
                continue
            if message["parent_header"].get("msg_id") != cell:
                continue
            content = message["content"]
            if message["msg_type"] == "stream":
                self.text += content["text"]
            elif message["msg_type"] == "error":
                self.error = f"{content['ename']}: {content['evalue']}"
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                self.client.get_shell_msg(timeout=10)
                assert waiting == [], "not all was asked for"
                return self.text
        raise TimeoutError(self.text, self.asked)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """PostgreSQL."""
    if binaries() is None:
        pytest.skip("needs Debian's postgresql-15")
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Jupyter's folders, for this file."""
    folder = Path(tempfile.mkdtemp(prefix="kl-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def notebook(home: Path, server: Server) -> Iterator[FrontEnd]:
    """A kernel with the talking tool and psql."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("config", "data", "runtime"):
            (home / name).mkdir(mode=0o700)
            patch.setenv(f"JUPYTER_{name.upper()}_DIR", str(home / name))
        write_policy(home / "config" / "keyless" / "policy.cedar")
        tool = leaky(path=str(TALKER), secret_env={"TALKER_SECRET": "generic:value"})
        (home / "config" / "jupyter_keyless_config.py").write_text(
            f"c.Tools.declared = {{'talker': {tool!r}}}\nc.Tools.aws = False\n"
        )
        manager = KernelManager(kernel_name="keyless")
        manager.start_kernel(
            keyless_credentials=[
                {
                    "name": "canary",
                    "kind": "generic",
                    "fields": {"value": SECRET},
                    "tools": ["talker"],
                },
                {
                    "name": "db",
                    "kind": "postgres",
                    "fields": server.fields(sslrootcert=server.authority.certificate),
                    "tools": ["psql"],
                },
            ]
        )
        front = FrontEnd(manager)
        try:
            yield front
        finally:
            front.client.stop_channels()
            manager.shutdown_kernel(now=True)
            manager.cleanup_resources()


def test_a_talk_with_a_tool(notebook: FrontEnd) -> None:
    said = notebook.run(
        "import os; os.environ.update(LINES='33', COLUMNS='111')\n"
        "%secure_exec --out r talker --interactive talk",
        "Zoë",
        "open sesame",
    )
    assert notebook.error == ""
    assert notebook.asked == [
        ("talker: name? ", False),
        ("talker: password for the test: ", True),
    ]
    # As with input(): the front end itself shows prompt and line.
    assert said == (
        "size 33x111 tty [True, True, True]\nhello Zoë, size 33x111\n\n11 characters\n"
        "token=[redacted:canary]\n\033[1m[redacted:canary]\033[0m\n"
    )
    notebook.run("print(r.stdout, r.redactions, r.ok)")
    assert "name? Zoë\nhello Zoë" in notebook.text
    assert "{'canary': 2} True" in notebook.text
    assert "sesame" not in notebook.text


def test_control_d_ends_the_input_and_control_c_is_a_key(notebook: FrontEnd) -> None:
    said = notebook.run("%secure_exec talker --interactive cat", "one", "^C", "two", "^D")
    assert notebook.asked == [("talker: ", False)] * 4
    assert said == "got one\n^Cinterrupted\ngot two\nend after 2\n"


def test_an_interrupt_is_control_c_first_and_a_cancel_then(notebook: FrontEnd) -> None:
    def interrupt() -> None:
        notebook.manager.interrupt_kernel()

    said = notebook.run("%secure_exec talker --interactive cat", interrupt, "still here", "^D")
    assert said == "^Cinterrupted\ngot still here\nend after 1\n"
    assert notebook.error == ""
    notebook.run("%secure_exec talker --interactive cat", interrupt, interrupt)
    assert notebook.error == "KeyboardInterrupt: "
    assert notebook.run("print('alive')") == "alive\n"


def test_what_ends_meanwhile_needs_no_answer(notebook: FrontEnd) -> None:
    said = notebook.run("%secure_exec talker --interactive deaf 2", None)
    assert said == "not listening\n"
    assert notebook.asked == [("talker: ", False)]
    # An answer that comes too late is nobody's.
    assert notebook.run("print(input('next? '))", "this one") == "this one\n"


def test_the_time_limit_holds(notebook: FrontEnd) -> None:
    notebook.run("%secure_exec --timeout 2 talker --interactive stubborn", None)
    assert notebook.error.startswith("CommandTimeout: talker was ended at its time limit of 2 s")


def test_a_password_asked_for_later_is_hidden(notebook: FrontEnd) -> None:
    notebook.run("%secure_exec talker --interactive late", None, "hush")
    assert notebook.asked == [("talker: ", False), ("talker: late password: ", True)]
    assert "4 characters" in notebook.text


def test_a_front_end_without_stdin_is_refused_before_anything_starts(
    notebook: FrontEnd, home: Path
) -> None:
    notebook.run("%secure_exec talker --interactive talk", stdin=False)
    assert notebook.error.startswith("InvalidRequest: this front end can't be asked for input")
    last = records(home)[-1]
    assert (last["kind"], last["fields"]["allowed"]) == ("exec.decision", False)
    assert last["fields"]["message"].startswith("this front end can't be asked for input")
    said = notebook.run("%secure_exec --dry-run talker --interactive talk", stdin=False)
    assert notebook.error == ""
    assert said == ""


def test_other_threads_have_no_keyboard(notebook: FrontEnd) -> None:
    said = notebook.run(
        "import threading\nfrom keyless import ExecError, secure_exec\n"
        "def ask():\n"
        "    try: secure_exec('talker', ['talk'], interactive=True)\n"
        "    except ExecError as error: print(error)\n"
        "t = threading.Thread(target=ask); t.start(); t.join()"
    )
    assert said == "--interactive works in the kernel's main thread only\n"


def test_the_function_talks_too(notebook: FrontEnd) -> None:
    said = notebook.run(
        "from keyless import secure_exec\n"
        "print(secure_exec('talker', 'cat', interactive=True).exit_code)",
        "x",
        "^D",
    )
    assert said == "got x\nend after 1\n0\n"


def test_psql(notebook: FrontEnd, home: Path) -> None:
    said = notebook.run(
        "%%secure_exec psql --interactive",
        "create temp table t (n int);",
        "insert into t values (6), (7) returning n;",
        "select n * 6",
        "from t;",
        "nonsense;",
        r"\q",
    )
    assert notebook.error == ""
    assert re.search(r"psql \(\d+", said)
    assert "CREATE TABLE" in said
    assert "INSERT 0 2" in said
    assert "36" in said
    assert "ERROR:  syntax error" in said
    prompts = [prompt for prompt, _ in notebook.asked]
    assert prompts == ["psql: shop=> "] * 3 + ["psql: shop-> "] + ["psql: shop=> "] * 2
    assert PASSWORD not in said
    assert "temp table" not in json.dumps(records(home))


def records(home: Path) -> list[dict[str, Any]]:
    """All that the audit has."""
    files = sorted((home / "data" / "keyless" / "audit").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]
