"""Send standard input that nobody announced, or more than was announced.

Wall: announced input
Kernel: fresh
"""

wire = Wire()
wire.hello()
wire.send(type="exec", id=1, tool="leaky", argv=["stdin"], stdin_size=10)
sent, chunk = 0, b"x" * (200 << 10)
try:
    for _ in range(200):
        wire.send(type="stdin", id=1, data=chunk)
        sent += len(chunk)
    wire.send(type="stdin", id=77, data=b"for a request that never was")
except OSError as error:
    print("stopped:", error)
if sent >= 32 << 20:
    won(f"the sidecar took {sent >> 20} MiB where 10 bytes were announced")
