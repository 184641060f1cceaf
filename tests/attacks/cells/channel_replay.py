"""Record a request that ran and play it back on the channel.

Wall: request ids that only grow
Kernel: fresh
"""

wire = Wire()
wire.hello()
request = {"type": "exec", "id": 5, "tool": "leaky", "argv": ["argv", "replayed"]}
wire.send(**request)
first = wire.answers()
for repeated in (request, request | {"id": 4}):
    try:
        wire.send(**repeated)
    except OSError:
        break
    if any(answer["type"] == "finished" for answer in wire.answers()):
        won(f"request {repeated['id']} ran again")
