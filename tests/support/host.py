"""A minimal host process for the kill tests: starts one kernel, says so, and stays.

``python host.py``: prints ``starting`` before the start and ``ready`` after the first answer.
"""

from __future__ import annotations

import time

from jupyter_client.manager import KernelManager

print("starting", flush=True)
manager = KernelManager(kernel_name="keyless")
manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=60)
# A daemon that a cell left behind is one more thing that must not survive.
client.execute("import subprocess; subprocess.Popen(['setsid', 'sleep', '600'])")
print("ready", flush=True)
time.sleep(600)
