"""What a killed process left in its session is found and ended, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess

from keyless_kernel.confine.session import end_session


def test_only_the_dead_leaders_session_ends() -> None:
    shell = ["/bin/sh", "-c", "sleep 300 & echo $!; wait"]
    with (
        subprocess.Popen(shell, stdout=subprocess.PIPE, start_new_session=True) as killed,
        subprocess.Popen(shell, stdout=subprocess.PIPE, start_new_session=True) as other,
    ):
        assert killed.stdout
        assert other.stdout
        orphan = os.pidfd_open(int(killed.stdout.readline()))
        others = os.pidfd_open(int(other.stdout.readline()))
        try:
            os.kill(killed.pid, signal.SIGKILL)
            os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
            assert killed.returncode is None
            end_session(killed.pid)
            # Its end of the pipe closes with it.
            assert killed.stdout.read() == b""
            signal.pidfd_send_signal(others, 0)
            assert other.poll() is None
        finally:
            signal.pidfd_send_signal(others, signal.SIGKILL)
            os.close(orphan)
            os.close(others)
