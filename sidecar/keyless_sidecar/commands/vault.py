"""``jupyter keyless vault``: add, list, remove, test.  Run by :mod:`keyless_sidecar.__main__`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from keyless_sidecar.commands import new_entry, places, secret_input
from keyless_sidecar.commands.parsing import Parser
from keyless_sidecar.vault import (
    DELIVERIES,
    KINDS,
    SOURCES,
    Declaration,
    Entry,
    EntryInfo,
    FileSource,
    VaultError,
    VaultLocked,
)

__all__ = ["main"]


def main(argv: list[str], prog: str = "jupyter keyless vault") -> int:
    """Run one vault command.

    Returns:
        0 done, 1 the vault refused (one sentence on standard error), 2 wrong arguments.
    """
    options = _parser(prog).parse_args(argv)
    try:
        code: int = options.run(options)
    except VaultError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    return code


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = Parser(
        prog=prog,
        description="Credentials that notebooks act with and never hold.",
        epilog="A vault that was made with --passphrase asks for it at a hidden prompt.",
    )
    parser.add_argument("--data-dir", type=Path, required=True, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    _add_options(commands.add_parser("add", help="store a credential (asks at a hidden prompt)"))
    show = commands.add_parser("list", help="show the entries, without values")
    show.set_defaults(run=_list)
    remove = commands.add_parser("remove", help="take an entry out; its use ends at once")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=_remove)
    test = commands.add_parser("test", help="say whether the vault opens, or an entry can be had")
    test.add_argument("name", metavar="NAME", nargs="?", help="fetch this entry from its source")
    test.set_defaults(run=_test)

    for command in commands.choices.values():
        command.add_argument(
            "--passphrase-fd", type=int, metavar="N", help="descriptor with the vault's passphrase"
        )
        command.add_argument("--no-prompt", action="store_true", help=argparse.SUPPRESS)
    for command in (show, test):
        command.add_argument("--json", action="store_true", help="for programs")
    return parser


def _add_options(add: argparse.ArgumentParser) -> None:
    add.add_argument("name", metavar="NAME")
    add.add_argument(
        "--kind",
        choices=sorted(KINDS),
        help="may be left out for an AWS profile, and where NAME is a kind",
    )
    who = add.add_argument_group("who may use it, and where")
    tools = who.add_mutually_exclusive_group()
    tools.add_argument(
        "--tool",
        action="append",
        default=[],
        metavar="TOOL",
        dest="tools",
        help="a tool that may use it (repeat for more; kind aws: aws)",
    )
    tools.add_argument(
        "--no-tool", action="store_true", help="none: it only gives access to another's source"
    )
    who.add_argument("--delivery", default="", choices=DELIVERIES)
    for option, name, what in (
        ("host", "HOST", "a host it may be sent to: api.example.org, *.example.org:8443"),
        ("path", "PREFIX", "a prefix of the paths there (default: all)"),
        ("place", "PLACE", "header:NAME, header:NAME:SCHEME, basic, query:NAME"),
    ):
        who.add_argument(
            f"--{option}", action="append", default=[], metavar=name, dest=f"{option}s", help=what
        )
    who.add_argument(
        "--as-file", default="", metavar="FILE", help="delivery file: its place in the tool's home"
    )

    where = add.add_argument_group("where its values come from")
    origin = where.add_mutually_exclusive_group()
    origin.add_argument("--from-stdin", action="store_true", help="JSON object, or one value")
    origin.add_argument("--from-fd", type=int, metavar="N", help="likewise, from a descriptor")
    origin.add_argument("--from-profile", metavar="NAME", help="copy an AWS profile's static keys")
    origin.add_argument("--source", choices=sorted(SOURCES), help="fetched when it is used")
    where.add_argument("--profile", metavar="NAME", help="with --source: the AWS profile")
    where.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SETTING=VALUE",
        dest="settings",
        help="with --source: one of its settings (never a secret)",
    )
    where.add_argument(
        "--field",
        action="append",
        default=[],
        metavar="FIELD=MEMBER",
        dest="mapping",
        help="with --source: the field's member in the source's answer",
    )
    where.add_argument("--raw", action="store_true", help="what is read is one value, never JSON")
    add.add_argument("--replace", action="store_true", help="rotate an entry of that name")
    lock = add.add_mutually_exclusive_group()
    lock.add_argument(
        "--passphrase", action="store_true", help="lock a new vault by a passphrase, not a key file"
    )
    lock.add_argument(
        "--keyring", action="store_true", help="keep a new vault's key in the OS keyring"
    )
    add.set_defaults(run=_add)


def _add(options: argparse.Namespace) -> int:
    secret_fd = 0 if options.from_stdin else options.from_fd
    if secret_fd is not None and secret_fd == options.passphrase_fd:
        raise VaultError("The secret and the passphrase can't come from the same descriptor")
    options.kind = new_entry.kind(options)
    source = FileSource(options.data_dir, places.keyring())
    passphrase = None
    fresh = not source.method
    if fresh:
        passphrase = None if options.keyring else _new_passphrase(options)
    elif options.keyring:
        raise VaultError("There is a vault already: --keyring is for a new one")
    else:
        source = _open(options)
    entry: Entry | Declaration
    if options.source is not None:
        known = {info.name for info in source.names()} if not fresh else set()
        known |= {each.info.name for each in places.declared()}
        entry = new_entry.declaration(options, known)
    else:
        entry = new_entry.entry(options, secret_fd)
    source.add(entry, replace=options.replace, passphrase=passphrase, in_keyring=options.keyring)
    info = entry.info
    users = ", ".join(info.tools) or "no tool"
    if isinstance(entry, Declaration):
        print(f"Stored {info.name} ({info.kind}, from {info.source}) for {users}.")
        print(f"jupyter keyless vault test {info.name} tries it.")
    else:
        print(f"Stored {info.name} ({info.kind}) for {users}.")
        if info.tools == ("aws",):
            print("In a notebook, try: %secure_exec aws sts get-caller-identity")
        if "session_token" in entry.fields:
            print("It has a session token, so it will expire.")
    if fresh and options.keyring:
        print("The vault's key is in the keyring: a backup of the vault needs one of it too.")
    elif fresh and passphrase is None:
        print(f"The vault's key is {options.data_dir / 'vault.key'}: keep a copy in a safe place.")
    return 0


def _list(options: argparse.Namespace) -> int:
    infos = [*_open(options).names(), *(each.info for each in places.declared())]
    infos.sort(key=lambda info: info.name)
    if options.json:
        print(json.dumps([_to_json(info) for info in infos]))
        return 0
    if not infos:
        print("The vault is empty: jupyter keyless vault add stores a credential.")
        return 0
    rows = [("NAME", "KIND", "TOOLS", "DELIVERY", "SOURCE", "HOSTS", "ADDED")]
    rows += [
        (
            info.name,
            info.kind,
            ",".join(info.tools) or "-",
            info.delivery,
            info.source,
            ",".join(info.hosts) or "-",
            info.added or "-",
        )
        for info in infos
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    return 0


def _remove(options: argparse.Namespace) -> int:
    _open(options).remove(options.name)
    print(f"Removed {options.name}.")
    return 0


def _test(options: argparse.Namespace) -> int:
    if options.name is not None:
        return _test_one(options)
    state, message, count = "open", "", 0
    try:
        source = _open(options)
        infos = source.names()
        for info in infos:
            source.fetch(info.name)
        count = len(infos)
        if not source.method:
            state = "absent"
    except VaultLocked as error:
        state, message = "locked", str(error)
    except VaultError as error:
        state, message = "unusable", str(error)
    if options.json:
        print(json.dumps({"state": state, "entries": count, "message": message}))
    elif message:
        raise VaultError(message)
    elif state == "absent":
        print("There is no vault yet: jupyter keyless vault add makes it.")
    else:
        print(f"OK: {count} {'entry' if count == 1 else 'entries'} can be decrypted.")
    return 1 if message else 0


def _test_one(options: argparse.Namespace) -> int:
    """Fetch one entry as a sidecar would, and say all of it but the values."""
    entry, message = None, ""
    try:
        vault = places.whole_vault(options.data_dir, _passphrase(options))
        try:
            entry = vault.fetch(options.name)
        finally:
            vault.close()
    except VaultError as error:
        if not options.json:
            raise
        message = str(error)
    expires = entry.expires.isoformat(timespec="seconds") if entry and entry.expires else ""
    if options.json:
        facts = _to_json(entry.info) if entry else {"name": options.name}
        print(json.dumps({**facts, "ok": not message, "expires": expires, "message": message}))
    elif entry is not None:
        fields = ", ".join(entry.fields)
        print(f"OK: {entry.name} ({entry.kind}) from {entry.source}, with {fields}.")
        print(f"It ends {expires}." if expires else "It has no end that its source tells.")
    return 1 if message else 0


def _open(options: argparse.Namespace) -> FileSource:
    return FileSource.open(options.data_dir, _passphrase(options), keyring=places.keyring())


def _passphrase(options: argparse.Namespace) -> str | None:
    if FileSource(options.data_dir).method != "argon2id":
        return None
    if options.passphrase_fd is not None:
        return secret_input.read_descriptor(options.passphrase_fd, "The passphrase")
    return None if options.no_prompt else secret_input.ask_passphrase()


def _new_passphrase(options: argparse.Namespace) -> str | None:
    if options.passphrase_fd is not None:
        return secret_input.read_descriptor(options.passphrase_fd, "The passphrase")
    return secret_input.ask_new_passphrase() if options.passphrase else None


def _to_json(info: EntryInfo) -> dict[str, object]:
    return {
        "name": info.name,
        "kind": info.kind,
        "tools": list(info.tools),
        "delivery": info.delivery,
        "source": info.source,
        "hosts": list(info.hosts),
        "paths": list(info.paths),
        "places": list(info.places),
        "file": info.file,
        "added": info.added,
    }
