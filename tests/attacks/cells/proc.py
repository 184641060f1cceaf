"""Look into every process that /proc shows: arguments, environments, open files, memory.

Wall: pid namespace
"""

import re

for entry in Path("/proc").glob("[0-9]*"):
    if entry.name == str(os.getpid()):
        continue  # the kernel's own memory holds what it was shown, and nothing else
    for name in ("environ", "cmdline", "maps"):
        take(read(entry / name, 65536), entry / name)
    try:
        links = [*(entry / "fd").iterdir()]
        links = [link for link in links if os.readlink(link).startswith(("/memfd", "/tmp"))]
    except OSError:
        links = []
    for link in links:
        take(read(link), link)
    try:
        memory = open(entry / "mem", "rb", 0)
    except OSError:
        continue
    with memory:
        for line in read(entry / "maps", 1 << 22).decode().splitlines():
            area = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            start, end = (int(area[1], 16), int(area[2], 16)) if area else (0, 0)
            try:
                memory.seek(start)
                data = memory.read(min(end - start, 1 << 24))
            except (OSError, ValueError, OverflowError):
                continue
            for found in re.finditer(rb"CANARY-\w{20}|AKIACANARY\w{10}", data):
                take(found[0], entry / "mem")
