"""Ask for the credential of another tool, by name, by pattern, in another's place.

Wall: credentials bound to tools
Kernel: fresh
"""

wire = Wire()
wire.hello()
number = 0
for names in (["cloud"], ["loot", "cloud"], ["*"], ["../loot"], ["LOOT"], [""]):
    number += 1
    try:
        answers = wire.execute(number, "leaky", ["env"], credentials=names)
    except OSError:
        break
    if any(answer["type"] == "finished" for answer in answers):
        won(f"leaky ran with {names}")
