"""The demo itself: the whole story on this machine, with a local AWS and a fresh key.

Called by ``demo``.  Starts the local AWS, puts its key into a vault of its own, runs
``01-deploy-lambda.ipynb`` in a Keyless kernel, judges from outside what came of it (``checks``)
and writes a page about it (``story``).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

from keyless.localaws import checks, headless, story
from keyless.localaws.private_jupyter import CommandRefused, PrivateJupyter, private_jupyter
from keyless.localaws.server import LocalAws, LocalAwsError

NOTEBOOK = "01-deploy-lambda.ipynb"
PAGE = "index.html"


class DemoError(RuntimeError):
    """The demo can't run; one sentence that says why."""


def rehearse(output: Path, timeout: float) -> bool:
    """Run the demo, with its progress on the terminal.

    Args:
        output: folder for the executed notebook, the page, and the agent's workspace.
        timeout: seconds that one cell may take.

    Returns:
        Whether every check holds.

    Raises:
        DemoError: it can't run to its end.
    """
    source = shipped(NOTEBOOK)
    workspace = fresh(output, (NOTEBOOK, PAGE))
    progress = headless.Progress()
    began = time.monotonic()
    print("An agent deploys a Lambda with a key that it never sees.\n")
    try:
        progress.begin("Start a local AWS")
        with LocalAws() as aws, private_jupyter() as jupyter:
            user = aws.user_arn.rpartition("/")[2]
            progress.end("Start a local AWS", f"a fresh key for {user}")
            progress.begin("Put the key into the vault")
            jupyter.configure(workspace, aws.endpoint)
            jupyter.store_aws_key(aws.access_key_id, aws.secret_access_key, aws.region)
            progress.end("Put the key into the vault", "encrypted file")
            notebook = play(source, output / NOTEBOOK, progress, timeout)
            found = checks.hashes(workspace, aws)
            tried = headless.attempts(notebook)
            judged = [
                checks.same_code(found),
                checks.right_principal(aws.requests, aws.user_arn),
                checks.nothing_taken(tried),
                audit(jupyter),
                checks.no_key(output, aws),
            ]
            page = story.page(notebook, found, tried, progress.steps, judged)
            (output / PAGE).write_text(page, encoding="utf-8")
            judged[-1] = checks.no_key(output, aws)  # again, with the page
    except (LocalAwsError, CommandRefused) as error:
        raise DemoError(str(error)) from None
    table(progress.steps, judged, time.monotonic() - began)
    print(f"\n  {output / PAGE}\n  {output / NOTEBOOK}")
    return all(check.ok for check in judged)


def shipped(name: str) -> Path:
    """A notebook: beside the repository's sources, or in the wheel.

    Args:
        name: with its ending.

    Raises:
        DemoError: it is in neither place.
    """
    here = Path(__file__).resolve()
    for place in (here.parents[3] / "notebooks" / name, here.with_name(name)):
        if place.is_file():
            return place
    raise DemoError(f"{name} is missing: install the wheel, or run from a checkout.")


def fresh(output: Path, names: Iterable[str]) -> Path:
    """Take out what an earlier run left; returns the workspace, which the kernel's start makes.

    Args:
        output: folder, made where it isn't there.
        names: of the files in it that go.

    Raises:
        DemoError: the workspace is a symbolic link.
    """
    workspace = output / "workspace"
    output.mkdir(parents=True, exist_ok=True)
    if workspace.is_symlink():
        raise DemoError(f"{workspace} is a symbolic link: remove it first.")
    if workspace.exists():
        shutil.rmtree(workspace)
    for name in names:
        (output / name).unlink(missing_ok=True)
    return workspace


def play(source: Path, target: Path, progress: headless.Progress, timeout: float) -> NotebookNode:
    """Run a notebook; returns it with its outputs, which ``target`` holds too.

    Raises:
        DemoError: a cell failed, or the kernel did.
    """
    try:
        return headless.run(source, target, progress, timeout)
    except CellExecutionError as error:
        raise DemoError(f"a cell failed: {headless.failure(error)}") from None
    except (DeadKernelError, TimeoutError, RuntimeError, OSError) as error:
        raise DemoError(f"the kernel: {type(error).__name__}: {error}") from error


def audit(jupyter: PrivateJupyter) -> checks.Check:
    """Check the chains of records of all kernels so far."""
    name = "The audit's chain of records is whole"
    try:
        return checks.Check(name, True, jupyter.verify_audit())
    except CommandRefused as error:
        return checks.Check(name, False, str(error))


def table(steps: list[headless.Step], judged: list[checks.Check], total: float) -> None:
    """Print step, time, result; ``total`` in seconds."""
    rows = [(step.name, f"{step.seconds:.2f} s", _mark(step.ok, step.result)) for step in steps]
    rows += [(check.name, "", _mark(check.ok, check.seen)) for check in judged]
    rows.append(("All of it", f"{total:.2f} s", _mark(all(check.ok for check in judged), "")))
    rows = [("Step", "Time", "Result"), *rows]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    print()
    for number, (name, seconds, result) in enumerate(rows):
        print(f"  {name:<{first}}  {seconds:>{second}}  {result}")
        if number in (0, len(steps), len(rows) - 2):
            print(f"  {'─' * first}  {'─' * second}  {'─' * 40}")


def _mark(ok: bool, text: str) -> str:
    return f"{'✓' if ok else '✗'} {text}".rstrip()
