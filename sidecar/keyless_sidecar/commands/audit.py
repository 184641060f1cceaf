"""``jupyter keyless audit``: show, verify.  Run by :mod:`keyless_sidecar.__main__`."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keyless_sidecar.audit import Report, files, read, verify, verify_folder
from keyless_sidecar.commands.parsing import Parser
from keyless_sidecar.printable import printable
from keyless_sidecar.private_files import NotPrivate, open_folder

__all__ = ["main"]

#: Folder of the records in the data folder, where no other is configured.
FOLDER = "audit"


def main(argv: list[str], prog: str = "jupyter keyless audit") -> int:
    """Run one audit command.

    Returns:
        0 done, 1 a chain is broken or the folder can't be used, 2 wrong arguments.
    """
    options = _parser(prog).parse_args(argv)
    options.folder = options.folder or options.data_dir / FOLDER
    try:
        code: int = options.run(options)
    except BrokenPipeError:
        # The reader (head, less) has had enough; keep Python's exit from complaining about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"{prog}: the audit can't be read: {error}", file=sys.stderr)
        return 1
    return code


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = Parser(prog=prog, description="What notebooks did with your credentials.")
    parser.add_argument("--data-dir", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="print the records")
    show.add_argument("--kernel", default="", metavar="ID", help="only this kernel's (or a prefix)")
    show.add_argument("--last", type=int, default=None, metavar="N", help="only the last N records")
    show.add_argument("--json", action="store_true", help="one JSON object a line")
    show.set_defaults(run=_show)
    check = commands.add_parser("verify", help="check that no record was changed or taken out")
    check.add_argument("file", type=Path, nargs="?", help="one file (default: all)")
    check.add_argument("--json", action="store_true", help="for programs")
    check.set_defaults(run=_verify)
    usable = commands.add_parser("check", help="say whether records can be written")
    usable.set_defaults(run=_check)
    return parser


def _show(options: argparse.Namespace) -> int:
    found = _records(options.folder, options.kernel)
    chosen = found if options.last is None else iter(deque(found, maxlen=max(0, options.last)))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    count = 0
    for record in chosen:
        print(json.dumps(record) if options.json else _line(record)[:width])
        count += 1
    if not count and not options.json:
        print("There are no records.")
    return 0


def _records(folder: Path, kernel: str) -> Iterator[dict[str, Any]]:
    for path in files(folder) if folder.exists() else []:
        if path.name.partition("-")[2].startswith(kernel):
            yield from read(path)


def _line(record: dict[str, Any]) -> str:
    time = str(record.get("time", "")).replace("T", " ")[:23]
    fields = record.get("fields")
    shown = _fields(fields) if isinstance(fields, dict) else ""
    columns = (time, str(record.get("record_id", "")), str(record.get("kind", "")).ljust(14), shown)
    return "  ".join(printable(column) for column in columns).rstrip()


def _fields(fields: dict[str, Any]) -> str:
    return " ".join(
        f"{key}={_value(value)}" for key, value in fields.items() if value not in (None, "", [], {})
    )


def _value(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return f"[{shlex.join(value)}]"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _verify(options: argparse.Namespace) -> int:
    folder = options.folder
    if options.file is not None:
        reports = [verify(options.file)]
    else:
        reports = verify_folder(folder) if folder.exists() else []
    if options.json:
        print(json.dumps([report.to_json() for report in reports]))
    else:
        for report in reports:
            print(_verdict(report))
        if not reports:
            print("There are no audit files.")
    return 0 if all(report.ok for report in reports) else 1


def _verdict(report: Report) -> str:
    name = printable(Path(report.path).name)
    if report.ok:
        return f"✓ {name}: {report.records} records, {report.state}, last hash {report.head}"
    return (
        f"✗ {name}: {report.state} at line {report.line}: {report.reason} "
        f"({report.records} good records before it)"
    )


def _check(options: argparse.Namespace) -> int:
    folder = options.folder
    try:
        fd = open_folder(folder, create=True)
        try:
            # By the descriptor, so that the folder written in is the one that was checked.
            with tempfile.TemporaryFile(dir=f"/proc/self/fd/{fd}"):
                pass
        finally:
            os.close(fd)
    except (OSError, NotPrivate) as error:
        print(f"Records can't be written in {folder}: {error}", file=sys.stderr)
        return 1
    print(f"Records can be written in {folder}.")
    return 0
