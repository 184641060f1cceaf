"""Ask for more than the protocol has: environment, path, output that isn't sanitized, approval.

Wall: closed messages
Kernel: fresh
"""

wire = Wire()
wire.hello()
number = 0
for extra in ({"env": {"LD_PRELOAD": "/workspace/x.so"}}, {"raw": True}, {"approved": True}):
    number += 1
    try:
        answers = wire.execute(number, "leaky", ["argv"], **extra)
    except OSError:
        break
    if any(answer["type"] == "finished" for answer in answers):
        won(f"a request with {extra} ran")
