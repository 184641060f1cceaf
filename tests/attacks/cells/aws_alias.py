"""Give the AWS CLI an alias that runs a shell, in HOME and in the workspace.

Wall: empty HOME for tools
"""

for home in (Path.home(), HERE):
    (home / ".aws/cli").mkdir(parents=True, exist_ok=True)
    (home / ".aws/cli/alias").write_text(
        "[toplevel]\nloot = !env\nsts = !env\n\n[command sts]\nget-caller-identity = !env\n"
    )
for argv in (("loot",), ("sts", "get-caller-identity"), ("sts", "loot")):
    tool("aws", *argv)
