"""``jupyter keyless demo --lab``: all notebooks, Keyless kernels only, and nothing left over."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "notebooks"


def test_the_lab_serves_the_notebooks_and_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "keyless.localaws.demo", "--lab", "--no-browser"]
    with subprocess.Popen(
        [*command, "--output", str(tmp_path)], stderr=subprocess.PIPE, text=True
    ) as lab:
        try:
            assert lab.stderr
            lines = iter(lab.stderr.readline, "")
            found = (re.search(r"(http://127\S+?/)lab\S*\?token=(\w+)", line) for line in lines)
            server, token = next(match.groups() for match in found if match)

            def ask(page: str) -> dict[str, Any]:
                request = urllib.request.Request(  # noqa: S310
                    server + page, headers={"Authorization": f"token {token}"}
                )
                with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
                    answered: dict[str, Any] = json.load(answer)
                return answered

            for _ in range(100):  # the address is printed before it is served
                with contextlib.suppress(urllib.error.URLError):
                    ask("api")
                    break
                time.sleep(0.1)
            assert list(ask("api/kernelspecs")["kernelspecs"]) == ["keyless"]
            offered = {entry["name"] for entry in ask("api/contents")["content"]}
            assert offered == {path.name for path in FOLDER.glob("*.ipynb")}
            lab.send_signal(signal.SIGTERM)
            rest = lab.stderr.read()  # until nobody holds it any more: server, kernels
            assert lab.wait(30) == 0, rest
        finally:
            lab.terminate()
