"""Announce a frame of 4 GiB and go on sending, so that the sidecar holds it all.

Wall: frame limit
Kernel: fresh
"""

wire = Wire()
wire.hello()
sent = 0
try:
    wire.link.sendall(b"\xff\xff\xff\xff")
    while sent < 48 << 20:
        sent += wire.link.send(b"x" * (1 << 20))
except OSError as error:
    print("stopped:", error)
if sent >= 48 << 20:
    won(f"the sidecar took {sent >> 20} MiB of one frame")
