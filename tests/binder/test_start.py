"""What runs at each start of a Binder container: a local AWS, settings for it, the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.binder.dockerfile import CHECKOUT

#: Shows what it finds, then stays.
_COMMAND = 'echo "$JUPYTER_CONFIG_DIR"; cat "$JUPYTER_CONFIG_DIR"/*.py; echo end; exec sleep 60'


def test_a_command_finds_the_local_aws_and_ends_with_everything(tmp_path: Path) -> None:
    environment = {
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
    }
    process = subprocess.Popen(
        [str(CHECKOUT / "binder" / "start"), "bash", "-c", _COMMAND],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            if line == "end\n":
                break
            lines.append(line.rstrip())
        level, folder, *settings = lines
        assert level.startswith("Keyless: isolation level ")
        assert "c.Confinement.minimum = 'landlock'" in settings
        assert any(line.startswith("c.Egress.upstreams = {'*.amazonaws.com'") for line in settings)
        assert f"c.ServerApp.root_dir = {str(CHECKOUT / 'notebooks')!r}" in settings
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
        assert not Path(folder).exists()
        # Closed by everybody who had it: nothing was left behind.
        assert process.stdout.read() == ""
        assert list(tmp_path.iterdir()) == []
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
