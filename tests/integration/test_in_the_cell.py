"""What a cell shows of a command in a real kernel: the running line, trees, tables, DataFrames."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from jupyter_core.utils import ensure_event_loop
from nbclient.client import NotebookClient
from tests.support.kernels import Session
from tests.support.policies import write_policy

Messages = list[tuple[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    home = tmp_path_factory.mktemp("cell")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("config", "data", "runtime"):
            (home / name).mkdir(mode=0o700)
            patch.setenv(f"JUPYTER_{name.upper()}_DIR", str(home / name))
        write_policy(home / "config" / "keyless" / "policy.cedar")
        declared = {name: {"path": f"/usr/bin/{name}"} for name in ("cat", "sleep")}
        (home / "config" / "jupyter_keyless_config.py").write_text(
            f"c.Tools.declared = {declared!r}\nc.Tools.aws = False\n"
        )
        manager = KernelManager(kernel_name="keyless")
        manager.start_kernel()
        session = Session(manager, home)
        rows = '{"Functions": [{"Name": "<b>thumb</b>", "Size": 7}, {"Name": "b", "Size": 9}]}'
        assert not session.run(f"open('rows.json', 'w').write({rows!r})").error
        yield session
        session.stop()


def watched(kernel: Session, code: str) -> tuple[str, Messages]:
    """Run a cell as a notebook with a person before it does: its error, and all it shows."""
    seen: Messages = []
    reply = kernel._client.execute_interactive(
        code,
        timeout=60,
        allow_stdin=True,
        output_hook=lambda message: seen.append((message["msg_type"], message["content"])),
    )
    shown = [each for each in seen if each[0] not in ("status", "execute_input")]
    return reply["content"].get("ename", ""), shown


def saved(messages: Messages) -> list[dict[str, Any]]:
    """What a notebook keeps: updates go into the outputs that they are of."""
    outputs: list[dict[str, Any]] = []
    for kind, content in messages:
        if kind != "update_display_data":
            outputs.append(content)
            continue
        (target,) = [o for o in outputs if o.get("transient") == content["transient"]]
        target["data"] = content["data"]
    return outputs


def test_a_long_command_shows_its_time_and_then_only_its_result(kernel: Session) -> None:
    error, shown = watched(kernel, "%secure_exec sleep 2.5")
    assert error == ""
    kinds = [kind for kind, _ in shown]
    assert [kinds[0], kinds[-1]] == ["display_data", "execute_result"]
    assert set(kinds[1:-1]) == {"update_display_data"}
    lines = [content["data"]["text/plain"].partition(" ")[2] for _, content in shown[:-1]]
    assert lines[0].startswith("sleep 2.5: ")
    assert lines[-1] == ""
    assert len(lines) <= 3
    first, last = saved(shown)
    assert set(first["data"].values()) == {""}
    assert last["data"]["text/plain"].startswith("sleep: done, 2.5")


def test_short_or_quiet_nothing_is_drawn(kernel: Session) -> None:
    quick = watched(kernel, "%secure_exec sleep 0.1")[1]
    quiet = watched(kernel, "%secure_exec --quiet sleep 1.2")[1]
    assert [kind for kind, _ in quick] == ["execute_result"]
    assert quiet == []


def test_an_interrupt_while_the_line_is_there(kernel: Session) -> None:
    def interrupt() -> None:
        try:
            kernel.manager.interrupt_kernel()
        finally:
            ensure_event_loop().close()  # the one that the blocking manager made for this thread

    timer = threading.Timer(1.6, interrupt)
    timer.start()
    begin = time.monotonic()
    error, shown = watched(kernel, "%secure_exec sleep 30")
    timer.join()
    assert error == "KeyboardInterrupt"
    assert time.monotonic() - begin < 6
    assert {line for each in saved(shown) for line in each.get("data", {}).values()} <= {""}
    assert kernel.alive()


def test_json_is_a_table_for_people_and_text_for_agents(kernel: Session) -> None:
    _, shown = watched(kernel, "from keyless import secure_exec\nsecure_exec('cat', ['rows.json'])")
    ((kind, content),) = shown
    assert kind == "execute_result"
    html, text = content["data"]["text/html"], content["data"]["text/plain"]
    assert "<table>" in html
    assert "&lt;b&gt;thumb" in html
    assert "<b>thumb" not in html
    first, rest = text.split("\n", 1)
    assert first.startswith("cat: done, ")
    assert rest.startswith('{"Functions": [')


def test_out_df_in_the_sandbox(kernel: Session) -> None:
    pytest.importorskip("pandas")
    error, _ = watched(kernel, "%%secure_exec cat --out df --quiet\nrows.json")
    assert error == ""
    assert kernel.run("print(type(df).__name__, df.Size.sum())").text == "DataFrame 16\n"


def test_a_saved_notebook_of_nbclient_holds_no_line(kernel: Session) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("%secure_exec sleep 1.2")])
    client = NotebookClient(notebook, km=kernel.manager)
    try:
        client.execute()
    finally:
        client.kc.stop_channels()
    assert [output.output_type for output in notebook.cells[0].outputs] == ["execute_result"]
