"""Delivery ``file``: what is written into a tool's home just before it starts.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from keyless_sidecar.vault.entries import Entry
from keyless_sidecar.vault.kinds import KINDS, VaultError

__all__ = ["secret_files"]


def secret_files(entries: Sequence[Entry]) -> dict[str, bytes]:
    """Path below the tool's home → content, to be written with mode 0600, folders with 0700.

    Entries of another delivery have no part in it.  The content ends with a line's end, without
    which many programs don't read such files.

    Raises:
        VaultError: two entries want the same file, or one wants a folder where another has a file.
    """
    files: dict[str, bytes] = {}
    owners: dict[str, str] = {}
    for entry in entries:
        if entry.delivery != "file":
            continue
        for path, owner in owners.items():
            same = entry.file == path
            if same or entry.file.startswith(f"{path}/") or path.startswith(f"{entry.file}/"):
                raise VaultError(
                    f"{owner} and {entry.name} would both be the file {entry.file}: name one of "
                    "them with --credentials"
                )
        text = entry.fields.get(KINDS[entry.kind].single)
        if text is None:
            raise VaultError(f"{entry.name}: it has no field {KINDS[entry.kind].single}")
        files[entry.file] = text.encode() if text.endswith("\n") else f"{text}\n".encode()
        owners[entry.file] = entry.name
    return files
