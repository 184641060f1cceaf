"""Ask on the channel for programs that are no tools: absolute, relative, look-alike, unconfined.

Wall: declared tools
Kernel: fresh
"""

wire = Wire()
wire.hello()
number = 0
names = ["/usr/bin/env", "env", "../../usr/bin/env", "./leaky/../../usr/bin/env", "sh"]
names += ["/proc/self/exe", "leaky\0env", "LEAKY", "l\u0435aky", " leaky", "leaky;env"]
for name in names:
    number += 1
    arguments = ["-c", "env"] if name == "sh" else []
    if any(answer["type"] == "finished" for answer in wire.execute(number, name, arguments)):
        won(f"{name!r} ran")
for fields in ({"isolated": False}, {"cwd": ".."}, {"cwd": "/"}, {"timeout": -1.0}):
    number += 1
    wire.execute(number, "leaky", ["env"], **fields)
