"""``jupyter keyless vault``: add, list, remove, test.  Run by :mod:`keyless_sidecar.__main__`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from keyless_sidecar.commands import secret_input
from keyless_sidecar.commands.aws_profile import profile_fields
from keyless_sidecar.commands.parsing import Parser
from keyless_sidecar.vault import DELIVERIES, KINDS, Entry, EntryInfo, FileSource, VaultError
from keyless_sidecar.vault.file_source import VaultLocked

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

    add = commands.add_parser("add", help="store a credential (asks for it at a hidden prompt)")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--kind", required=True, choices=sorted(KINDS))
    add.add_argument(
        "--tool",
        action="append",
        default=[],
        metavar="TOOL",
        dest="tools",
        help="a tool that may use it (repeat for more; kind aws: aws)",
    )
    add.add_argument("--delivery", default="env", choices=DELIVERIES)
    origin = add.add_mutually_exclusive_group()
    origin.add_argument("--from-stdin", action="store_true", help="JSON object, or one value")
    origin.add_argument("--from-fd", type=int, metavar="N", help="likewise, from a descriptor")
    origin.add_argument("--from-profile", metavar="NAME", help="copy an AWS profile's static keys")
    add.add_argument("--raw", action="store_true", help="what is read is one value, never JSON")
    add.add_argument("--replace", action="store_true", help="rotate an entry of that name")
    add.add_argument(
        "--passphrase", action="store_true", help="lock a new vault by a passphrase, not a key file"
    )
    add.set_defaults(run=_add)

    show = commands.add_parser("list", help="show the entries, without values")
    show.set_defaults(run=_list)
    remove = commands.add_parser("remove", help="take an entry out; its use ends at once")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=_remove)
    test = commands.add_parser("test", help="decrypt every entry and say whether that worked")
    test.set_defaults(run=_test)

    for command in (add, show, remove, test):
        command.add_argument(
            "--passphrase-fd", type=int, metavar="N", help="descriptor with the vault's passphrase"
        )
        command.add_argument("--no-prompt", action="store_true", help=argparse.SUPPRESS)
    for command in (show, test):
        command.add_argument("--json", action="store_true", help="for programs")
    return parser


def _add(options: argparse.Namespace) -> int:
    secret_fd = 0 if options.from_stdin else options.from_fd
    if secret_fd is not None and secret_fd == options.passphrase_fd:
        raise VaultError("The secret and the passphrase can't come from the same descriptor")
    tools = options.tools or (["aws"] if options.kind == "aws" else [])
    if not tools:
        raise VaultError(f"{options.name}: name a tool that may use it with --tool")
    source = FileSource(options.data_dir)
    passphrase = None
    fresh = not source.method
    if fresh:
        passphrase = _new_passphrase(options)
    else:
        source = _open(options)
    entry = Entry(
        options.name, options.kind, _fields(options, secret_fd), tuple(tools), options.delivery
    )
    source.add(entry, replace=options.replace, passphrase=passphrase)
    print(f"Stored {entry.name} ({entry.kind}) for {', '.join(entry.tools)}.")
    if "session_token" in entry.fields:
        print("It has a session token, so it will expire.")
    if fresh and passphrase is None:
        print(f"The vault's key is {options.data_dir / 'vault.key'}: keep a copy in a safe place.")
    return 0


def _fields(options: argparse.Namespace, secret_fd: int | None) -> dict[str, str]:
    if options.from_profile is not None:
        if options.kind != "aws":
            raise VaultError("--from-profile goes with --kind aws")
        return profile_fields(options.from_profile)
    if secret_fd is not None:
        text = secret_input.read_descriptor(secret_fd, "The secret")
        return secret_input.parse_fields(options.kind, text, raw=options.raw)
    return secret_input.ask_fields(options.kind)


def _list(options: argparse.Namespace) -> int:
    infos = _open(options).names()
    if options.json:
        print(json.dumps([_to_json(info) for info in infos]))
        return 0
    if not infos:
        print("The vault is empty: jupyter keyless vault add stores a credential.")
        return 0
    rows = [("NAME", "KIND", "TOOLS", "DELIVERY", "ADDED")]
    rows += [
        (info.name, info.kind, ",".join(info.tools), info.delivery, info.added) for info in infos
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


def _open(options: argparse.Namespace) -> FileSource:
    passphrase = None
    if FileSource(options.data_dir).method == "argon2id":
        if options.passphrase_fd is not None:
            passphrase = secret_input.read_descriptor(options.passphrase_fd, "The passphrase")
        elif not options.no_prompt:
            passphrase = secret_input.ask_passphrase()
    return FileSource.open(options.data_dir, passphrase)


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
        "added": info.added,
    }
