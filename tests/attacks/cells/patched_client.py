"""Replace the client's checks and readers in the kernel, then ask for raw output.

Wall: every check is in the sidecar
Kernel: fresh
"""

import keyless.magics.checks as checks
import keyless.magics.client as client

client.checked = lambda command: command
checks.workspace_folder = lambda folder, current: folder
for fields in ({}, {"isolated": False}, {"cwd": "../../.."}, {"credentials": "loot,cloud"}):
    tool("leaky", "env", **fields)
tool("leaky", "argv", "a\0b", "\ud800")
tool("/usr/bin/env")
