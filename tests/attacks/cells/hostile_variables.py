"""Set variables that make programs load code or settings, before a command is asked for.

Wall: clean environment for tools
Kernel: fresh
"""

loader = f"import os; open({str(HERE / 'loot.txt')!r}, 'w').write(repr(dict(os.environ)))\n"
for name in ("sitecustomize.py", "usercustomize.py", "startup.py", "warnings_filter.py"):
    (HERE / name).write_text(loader)
(HERE / "config").write_text(f"[default]\nendpoint_url = http://127.0.0.1:{HINTS['listener']}\n")
os.environ |= {
    "AWS_CONFIG_FILE": f"{HERE}/config",
    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{HINTS['listener']}",
    "AWS_CA_BUNDLE": f"{HERE}/ca.pem",
    "HTTPS_PROXY": f"http://127.0.0.1:{HINTS['listener']}",
    "LD_PRELOAD": f"{HERE}/loot.so",
    "LD_LIBRARY_PATH": str(HERE),
    "LD_AUDIT": f"{HERE}/loot.so",
    "PATH": f"{HERE}:{os.environ['PATH']}",
    "PYTHONPATH": str(HERE),
    "PYTHONSTARTUP": f"{HERE}/startup.py",
    "PYTHONUSERBASE": str(HERE),
    "PYTHONINSPECT": "1",
    "LEAKY_SECRET": "mine",
}
tool("leaky", "argv", "started")
tool("aws", "--version")
take(read(HERE / "loot.txt"), "loot.txt")
