"""Nothing in the sidecar opens a path but the places below, each with its reason.

The workspace belongs to the kernel side.  It is touched through the kernel package's
``confine.workspace`` alone, which resolves beneath a descriptor and follows no link; everything
else opens paths of the trusted side.
"""

from __future__ import annotations

import ast
from pathlib import Path

import keyless_sidecar

ROOT = Path(keyless_sidecar.__file__).parent

#: Calls that take a path, as functions of os, shutil, glob or tempfile, or methods of pathlib.
FUNCTIONS = """
open listdir scandir walk fwalk stat lstat access mkdir makedirs mkfifo mknod rename renames
replace remove removedirs rmdir unlink link symlink readlink truncate chmod chown lchown utime
setxattr getxattr listxattr copy copy2 copyfile copytree move rmtree glob iglob mkdtemp mkstemp
NamedTemporaryFile TemporaryDirectory openat2
"""
METHODS = """
open read_text read_bytes write_text write_bytes iterdir glob rglob walk stat lstat exists
is_file is_dir is_symlink is_fifo is_socket touch mkdir rmdir unlink symlink_to hardlink_to
readlink resolve chmod lchmod samefile rename
"""
#: Methods of these names on other things than paths.
NOT_PATHS = {
    ("flow.py", "open"): "the descriptor of the standard input's own memory file",
    ("tools/plain_rules.py", "stat"): "WorkspaceRoot.stat",
    ("tools/aws_files.py", "stat"): "WorkspaceRoot.stat",
    ("server.py", "open"): "descriptors given by the supervisor, and AuditLog.open",
    ("vault/sources.py", "open"): "FileSource.open",
    ("egress/upstream.py", "open"): "Forwarder.open, a connection",
    ("commands/vault.py", "open"): "FileSource.open",
    ("execution/stdin.py", "open"): "flow.stdin.open(), see flow.py",
}
#: Modules that open paths, and why that is safe.
ALLOWED = {
    "execution/outputs.py": "the overlay's upper folder, by descriptors, when nothing runs in it; "
    "the workspace through WorkspaceRoot",
    "execution/inputs.py": "the run's own layer in the scratch folder; the workspace through "
    "WorkspaceRoot",
    "execution/command.py": "the upper folder of one sandbox, in the private scratch folder",
    "execution/place.py": "folders of one sandbox in the private scratch folder",
    "execution/child.py": "an empty input, from the device that is one",
    "execution/spawner.py": "the text of gate.py, beside it",
    "warm/plan.py": "the text of the zygote's program, beside it",
    "warm/packages.py": "looks at files that a tool's process has loaded, below the tool's own "
    "folders; opens none",
    "warm/joining.py": "cgroup.procs of a command's own control group",
    "warm/zygote.py": "runs in a tool's sandbox: the tool's script, new files below its HOME",
    "warm/running.py": "runs in a tool's sandbox: the tool's script, its standard streams",
    "private_files.py": "vault and audit, in folders that only their owner may touch",
    "audit/files.py": "the audit folder, by descriptors",
    "audit/log.py": "the audit folder, by its descriptor",
    "audit/reading.py": "the audit folder, for the command line",
    "commands/audit.py": "the audit folder, for the command line",
    "commands/scrub.py": "notebooks that a person names, for the command line",
    "execution/terminal.py": "/proc/PID/stat of who may be waiting for keys",
    "commands/secret_input.py": "the person's terminal",
    "memory.py": "/proc/self/smaps",
    "vault/file_source.py": "the vault's file: looked at by name, opened by its folder only",
    "hardening.py": "/proc/self/status and /proc/swaps",
    "own_filter.py": "bubblewrap's mode",
    "own_code.py": "the sidecar's own code: looked at, not opened",
    "tools/declaration.py": "programs that a person declared, outside the workspace, at the start",
    "tools/interpreter.py": "the same programs",
    "tools/aws_tool.py": "the same programs",
    "tools/psql_tool.py": "the same programs",
    "execution/gate.py": "runs in a tool's sandbox: new files below its HOME",
    "egress/authority.py": "a memory file, since ssl loads keys from files only",
    "egress/aws/catalog.py": "the service models of an installed botocore",
    "egress/trust.py": "botocore's bundle of certificates",
    "page/assets.py": "the page's own files, beside it, at the start",
    "page/server.py": "the page's address, by the descriptor of Jupyter's private runtime folder",
    "control/server.py": "socket and token, by the descriptor of a private folder",
    "ways.py": "the system's bundle of certificates",
    "policy/loading.py": "the person's policy, by a folder that only its owner may change",
    "commands/policy.py": "the person's policy, for the command line",
    "vault/os_keyring.py": "the bus of the person's keyring",
    "vault/surroundings.py": "the person's AWS settings and programs, outside the workspace",
}
_MODULES = frozenset({"os", "shutil", "glob", "tempfile", "pathlib", "io"})


def opened(path: Path) -> set[str]:
    """Names of calls in a module that may take a path."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Name(id="open" | "Path" as name):
                if name == "open":
                    found.add("open")
            case ast.Attribute(value=ast.Name(id=module), attr=name) if module in _MODULES:
                if name in FUNCTIONS.split():
                    found.add(name)
            case ast.Attribute(attr=name) if name in METHODS.split():
                found.add(name)
    return found


def test_only_known_modules_open_paths() -> None:
    unknown = []
    for path in sorted(ROOT.rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if name in ALLOWED:
            continue
        unknown += [f"{name}: {call}" for call in opened(path) if (name, call) not in NOT_PATHS]
    assert unknown == []


def test_no_reason_outlives_its_module() -> None:
    for name in ALLOWED:
        assert opened(ROOT / name), f"{name} opens nothing: take it off the list"
    for name, call in NOT_PATHS:
        assert call in opened(ROOT / name), f"{name} has no {call}: take it off the list"


def test_the_workspace_s_path_goes_only_to_its_root_and_the_mount() -> None:
    """Who is given the host path of the workspace could open below it by name."""
    holders = set()
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "workspace_path" in text or "settings.workspace" in text:
            holders.add(str(path.relative_to(ROOT)))
    assert holders == {"server.py", "serving.py", "execution/ready.py"}
