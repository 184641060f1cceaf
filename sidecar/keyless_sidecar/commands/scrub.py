"""``jupyter keyless scrub``: no secret stays in a notebook.  Run by :mod:`keyless_sidecar`.

Usable as a pre-commit hook: the exit status is 1 where something was found, taken out or not, so
that a commit stops and the person looks.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keyless_sidecar.commands import places, secret_input
from keyless_sidecar.printable import printable
from keyless_sidecar.sanitize import Patterns
from keyless_sidecar.scrubbing import Finding, scrub_notebook
from keyless_sidecar.vault import FileSource, Vault, VaultError

__all__ = ["main"]

_LARGEST = 512 * 1024 * 1024
_FOUND, _WRONG = 1, 2


class _Unusable(Exception):
    """A notebook can't be read or written; the message is one sentence."""


def main(argv: list[str], prog: str = "jupyter keyless scrub") -> int:
    """Search notebooks for secrets.

    Returns:
        0 nothing found, 1 found (with ``--redact``: and taken out) or it couldn't be looked for,
        2 wrong arguments.
    """
    options = _parser(prog).parse_args(argv)
    if bool(options.notebooks) == options.stdin:
        print(f"{prog}: name notebooks, or give one with --stdin", file=sys.stderr)
        return _WRONG
    try:
        patterns = _patterns(options, prog)
    except VaultError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return _FOUND
    if options.stdin:
        return _filter(patterns, prog)
    status = 0
    reports = []
    for path in options.notebooks:
        try:
            found = _one(path, patterns, redact=options.redact)
        except _Unusable as error:
            print(f"{prog}: {printable(str(path))}: {error}", file=sys.stderr)
            status = _FOUND
            continue
        status = _FOUND if found else status
        reports.append((path, found))
    _report(reports, options)
    return status


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Find the values of the vault, their encodings, and what looks like a "
        "credential in notebooks: sources, outputs, metadata, attachments.",
        allow_abbrev=False,
    )
    parser.add_argument("--data-dir", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK")
    parser.add_argument(
        "--redact", action="store_true", help="take them out, instead of only saying where"
    )
    parser.add_argument(
        "--kept-only",
        action="store_true",
        help="don't fetch credentials that are kept elsewhere to look for their values",
    )
    parser.add_argument(
        "--passphrase-fd", type=int, metavar="N", help="descriptor with the vault's passphrase"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--stdin", action="store_true", help=argparse.SUPPRESS)
    return parser


def _patterns(options: argparse.Namespace, prog: str) -> Patterns:
    passphrase = None
    if FileSource(options.data_dir).method == "argon2id":
        if options.passphrase_fd is not None:
            passphrase = secret_input.read_descriptor(options.passphrase_fd, "The passphrase")
        else:
            passphrase = secret_input.ask_passphrase()
    vault = places.whole_vault(options.data_dir, passphrase)
    with contextlib.closing(vault):
        if not options.kept_only:
            _fetch_all(vault)
        patterns = Patterns.build(vault.secret_values())
    for name, reason in patterns.skipped:
        print(f"{prog}: {name} isn't looked for: {reason}", file=sys.stderr)
    return patterns


def _fetch_all(vault: Vault) -> None:
    """Make the values known that are kept elsewhere.

    Raises:
        VaultError: one can't be had, so nobody can say that it isn't in a notebook.
    """
    for info in vault.infos():
        try:
            vault.fetch(info.name)
        except VaultError as error:
            raise VaultError(
                f"{error}; --kept-only leaves out credentials that are kept elsewhere"
            ) from None


def _one(path: Path, patterns: Patterns, *, redact: bool) -> list[Finding]:
    data, mode = _read(path)
    notebook = _parsed(data)
    clean, found = scrub_notebook(patterns, notebook)
    if found and redact:
        _, left = scrub_notebook(patterns, clean)
        if left:  # what was put together from two texts, say
            raise _Unusable("what was found can't be taken out by itself; edit the notebook")
        _write(path, _text(clean), mode)
    return found


def _filter(patterns: Patterns, prog: str) -> int:
    """A notebook from standard input; the findings and the clean notebook as JSON to the output."""
    try:
        notebook = _parsed(sys.stdin.buffer.read(_LARGEST + 1))
    except _Unusable as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return _WRONG
    clean, found = scrub_notebook(patterns, notebook)
    answer = {"found": [_plain(each) for each in found], "notebook": clean if found else None}
    print(json.dumps(answer))
    return _FOUND if found else 0


def _read(path: Path) -> tuple[bytes, int]:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            return file.read(_LARGEST + 1), mode
    except OSError as error:
        raise _Unusable(f"it can't be read: {error.strerror}") from None


def _parsed(data: bytes) -> Any:
    if len(data) > _LARGEST:
        raise _Unusable(f"it is larger than {_LARGEST >> 20} MiB")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise _Unusable("it is no notebook: not JSON") from None


def _text(notebook: Any) -> str:
    """As nbformat writes it, so that a later save changes nothing."""
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _write(path: Path, text: str, mode: int) -> None:
    """In one step: who reads the notebook meanwhile sees the old one or the new one."""
    target = path.resolve()
    try:
        with _beside(target) as temporary:
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(text)
                os.fchmod(file.fileno(), mode)
            os.replace(temporary, target)  # noqa: PTH105
    except OSError as error:
        raise _Unusable(f"it can't be written: {error.strerror}") from None


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[str]:
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(descriptor)
    try:
        yield name
    finally:
        Path(name).unlink(missing_ok=True)


def _report(reports: list[tuple[Path, list[Finding]]], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps({str(path): [_plain(each) for each in found] for path, found in reports}))
        return
    for path, found in reports:
        for finding in found:
            print(f"{printable(str(path))}: {printable(str(finding))}")
    count = sum(len(found) for _, found in reports)
    if count:
        word = "secret" if count == 1 else "secrets"
        done = "taken out" if options.redact else "found; --redact takes them out"
        print(f"{count} {word} {done}. What was saved or shared before is known: change it.")


def _plain(finding: Finding) -> dict[str, Any]:
    return {
        "cell": finding.place.cell,
        "part": finding.place.part,
        "line": finding.line,
        "name": finding.name,
        "count": finding.count,
    }
