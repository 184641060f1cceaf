"""Let the tool leave its secret in the workspace: contents, archives, names, links, attributes.

Wall: outputs searched before they come back
"""

for form in ("plain", "base64", "reversed", "gzip", "zlib", "zip", "utf-16"):
    tool("leaky", "file", f"loot-{form}", form)
os.mkdir("names")
for mode in ("filename", "folder"):
    tool("leaky", mode, "names")
tool("leaky", "symlink", "loot-link")
tool("leaky", "xattr", "loot-attribute")
os.mkdir("times")
tool("leaky", "mtime", "times")
