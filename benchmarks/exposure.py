"""Who holds which key, and how long, while one Lambda is deployed by each pattern.

``python -m benchmarks.exposure`` deploys the same function in each way that
``notebooks/02-three-patterns.ipynb`` shows, in a real kernel against the local AWS, looks from
outside, as root, for the keys in the memory of the kernel's and the tools' processes, and writes
``docs/exposure.json``, the table ``docs/exposure.md`` and the plot ``docs/exposure.svg``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.exposure_page import table, write_plot
from benchmarks.exposure_watch import ExposureWatch
from jupyter_client.manager import start_new_kernel
from tests.support.leftovers import descendants

from keyless.localaws import LocalAws
from keyless.localaws.private_jupyter import private_jupyter
from keyless.localaws.three_patterns import FUNCTION, configure, local_aws

ROOT = Path(__file__).resolve().parent.parent
#: What each deploys: the same function, so that only the way differs.
SETUP = f"""
import io, json, time, zipfile
with zipfile.ZipFile("function.zip", "w") as package:
    package.writestr("handler.py", "def handler(event, context): return event")
from keyless import secure_call, secure_exec, secure_session
FUNCTION = {FUNCTION!r}
"""


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to deploy.

    Attributes:
        name: short, for the plot.
        cell: what deploys.
        cli: whether the agent can use any command-line tool so.
        exposed: what a look may find, in words.
        otherwise: seconds for which it would be good, were it not closed and revoked.
    """

    name: str
    cell: str
    cli: bool
    exposed: str
    otherwise: float = 0.0


WAYS = (
    Way(
        "1 orchestration (secure_call)",
        'secure_call("lambda", "update_function_code", FunctionName=FUNCTION, '
        'ZipFile="fileb://function.zip")',
        cli=False,
        exposed="nothing",
    ),
    Way(
        "2 temporary credentials, closed and revoked",
        """
        with secure_session("deploy", operations=["lambda:UpdateFunctionCode"]) as session:
            print(json.dumps(dict(session.environment)))
            begun = time.monotonic()
            session.boto3().client("lambda").update_function_code(
                FunctionName=FUNCTION, ZipFile=open("function.zip", "rb").read())
            print(json.dumps({"open": time.monotonic() - begun}))
        """,
        cli=True,
        exposed="a session for one operation",
        otherwise=900.0,  # AWS's shortest
    ),
    Way(
        "3 platform-controlled, key in the tool (env)",
        'secure_exec("aws-held", ["lambda", "update-function-code", "--function-name", FUNCTION, '
        '"--zip-file", "fileb://function.zip"])',
        cli=True,
        exposed="the long-lived key",
    ),
    Way(
        "4 platform-controlled, placeholder and proxy",
        'secure_exec("aws", ["lambda", "update-function-code", "--function-name", FUNCTION, '
        '"--zip-file", "fileb://function.zip"])',
        cli=True,
        exposed="nothing",
    ),
)


class Kernel:
    """A Keyless kernel and the processes on its sides."""

    def __init__(self) -> None:
        self.manager, self.client = start_new_kernel(kernel_name="keyless")
        self._sidecar = self.sidecar()

    def run(self, code: str) -> str:
        """Run a cell; what it printed.

        Raises:
            RuntimeError: it raised.
        """
        printed: list[str] = []

        def hook(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        reply = self.client.execute_interactive(
            textwrap.dedent(code), timeout=120, output_hook=hook
        )
        if reply["content"]["status"] != "ok":
            raise RuntimeError(f"{reply['content']['ename']}: {reply['content']['evalue']}")
        return "".join(printed)

    def sidecar(self) -> int:
        """Its process id."""
        supervisor = self.manager.provisioner._supervisor.pid
        return next(p for p, c in descendants(supervisor).items() if "keyless_sidecar serve" in c)

    def kernel_side(self) -> Iterable[int]:
        """The processes of the sandbox in which cells run."""
        pid = self.manager.provisioner.pid
        return [pid, *descendants(pid)]

    def tool_side(self) -> Iterable[int]:
        """The processes of tools, without copies of the sidecar between fork and exec."""
        below = descendants(self._sidecar)
        return [p for p, c in below.items() if "keyless_sidecar serve" not in c]

    def close(self) -> None:
        """End it."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def measure(kernel: Kernel, aws: LocalAws, way: Way) -> dict[str, Any]:
    """Deploy once and look."""
    groups = {"cells": kernel.kernel_side, "tool": kernel.tool_side}
    begun = time.monotonic()
    with ExposureWatch(groups, aws.secret_access_key) as watch:
        printed = kernel.run(way.cell)
    took = time.monotonic() - begun
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    opened = next((line["open"] for line in lines if "open" in line), None)
    return {
        "seconds": took,
        "looks": {name: presence.looks for name, presence in watch.seen.items()},
        "key_in_cells": watch.seen["cells"].seconds,
        "key_in_tool": watch.seen["tool"].seconds,
        "session_in_cells": opened or 0.0,
    }


def summary(way: Way, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The medians of some deployments."""

    def middle(name: str) -> float:
        return round(statistics.median(run[name] for run in runs), 3)

    return {
        "name": way.name,
        "cli": way.cli,
        "exposed": way.exposed,
        "otherwise": way.otherwise,
        "seconds": middle("seconds"),
        "key_in_cells": middle("key_in_cells"),
        "key_in_tool": middle("key_in_tool"),
        "session_in_cells": middle("session_in_cells"),
        "looks": {side: sum(run["looks"][side] for run in runs) for side in ("cells", "tool")},
    }


@contextmanager
def stage() -> Iterator[tuple[Kernel, LocalAws]]:
    """A kernel, beside a local AWS that has the function."""
    with local_aws() as aws, private_jupyter() as jupyter, tempfile.TemporaryDirectory() as name:
        workspace = Path(name) / "workspace"
        configure(jupyter, workspace, aws)
        kernel = Kernel()
        try:
            kernel.run(SETUP)
            kernel.run(
                'secure_exec("aws", ["lambda", "create-function", "--function-name", FUNCTION, '
                '"--runtime", "python3.11", "--handler", "handler.handler", "--role", '
                f'{aws.role_arn!r}, "--zip-file", "fileb://function.zip"])'
            )
            yield kernel, aws
        finally:
            kernel.close()


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "docs")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("looking into other users' memory takes root", file=sys.stderr)
        return 1
    runs: dict[str, list[dict[str, Any]]] = {way.name: [] for way in WAYS}
    with stage() as (kernel, aws):
        for number in range(options.rounds + 1):
            for way in WAYS:
                result = measure(kernel, aws, way)
                if number:  # the first one warms up
                    runs[way.name].append(result)
    rows = [summary(way, runs[way.name]) for way in WAYS]
    for row in rows:
        print(row)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "exposure.json").write_text(json.dumps(rows, indent=2) + "\n")
    (options.output / "exposure.md").write_text(table(rows))
    write_plot(rows, options.output / "exposure.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
