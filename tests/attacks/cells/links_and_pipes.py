"""Name inputs that are something else: links out of the workspace, FIFOs, hard links, devices.

Wall: files opened beneath the workspace
"""

os.symlink("/proc/self/environ", "link")
os.symlink("/proc/self", "proc")
os.symlink(HINTS["person"], "person")
os.mkfifo("pipe")
for name in ("link", "proc/environ", "/proc/self/environ", "../proc/self/environ",
             "person/.aws/credentials", HINTS["person"] + "/.aws/credentials"):  # fmt: skip
    tool("leaky", "cat", name)
for pieces in (("li", "nk"), ("pro", "c/environ"), ("per", "son/.aws/credentials")):
    tool("leaky", "cat", *pieces)
begin = time.time()
for pieces in (("pipe",), ("pi", "pe")):
    tool("leaky", "cat", *pieces, timeout=1)
if time.time() - begin > 6:
    won("a FIFO held the commands beyond their time limits")
reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
os.chmod("pipe", 0o666)
for pieces in (("pipe",), ("pi", "pe")):
    tool("leaky", "pour", *pieces)
    take(os.read(reader, 65536), "pipe")
os.close(reader)
