"""Let the tool leave a daemon behind that writes the secret when the command is over.

Wall: pid namespace ends with the command
"""

tool("leaky", "daemon", str(HERE / "beat"), "4")
time.sleep(0.5)
(HERE / "beat").unlink(missing_ok=True)
time.sleep(0.5)
if (HERE / "beat").exists():
    won("a daemon writes after the end of its command")
