"""The shared attack probes against a Keyless kernel, and against an unprotected one.

The probes are no part of this repository: they are taken from the folder in ``KEYLESS_PROBES``, or
from ``../shared/attacks`` beside it.  Without them this module holds no test.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from tests.support import probes
from tests.support.asking import denying
from tests.support.kept import Kept, probe_folder
from tests.support.kernels import Stage, control_folder
from tests.support.unprotected import naive_socket

FOLDER = probe_folder()
PROBES = sorted(FOLDER.glob("[A-E][0-9][0-9]_*.py"))

#: Probes that need what Keyless doesn't have yet, by id.
NEEDS_LATER: dict[str, str] = {}

#: Probes that are stopped by placeholders alone: a tool that holds its secret answers yes or no
#: about it, and only what is put in by the proxy can be reflected.
PLACEHOLDERS = ("B09", "C11")

#: Errors that are the wall itself: where a kernel has no network at all, it can't even listen.
STOPPED_BY_THE_WALL = {"C19": ("Address family not supported",)}

#: Probes that can't win in the unprotected kernel here, by id.
CANNOT_WIN = {
    "A33": "the kernels of a test run have no terminal",
    "D11": "wins only where the disk has more than 16 GiB of room",
}

#: Changes of what is waited for, not of what is tried: a proof that ends sooner, and one that a
#: busy machine doesn't spoil (the naive sidecar's threads must come to take what is offered).
_WAITS = {
    "D03": (("settimeout(0.5)", "settimeout(2)"),),
    "D09": (('"40"', '"5"'), ("lim + 10", "lim + 2")),
}

#: Probes that leave the unprotected kernel or its sidecar stopped, crashed or without its modules.
_RUINOUS = {"A07", "A19", "D01", "D03", "E01", "E05"}


def _cases(left_out: dict[str, str], *, strict: bool) -> list[object]:
    cases: list[object] = []
    for path in PROBES:
        name = path.name[:3]
        marks = [pytest.mark.probe(name)]
        if name in left_out:
            marks.append(pytest.mark.xfail(reason=left_out[name], strict=strict))
        cases.append(pytest.param(path, id=name, marks=marks))
    return cases


if PROBES:

    @pytest.mark.parametrize("probe", _cases(NEEDS_LATER, strict=True))
    def test_probe_is_blocked(probe: Path, world: Stage, probed: Kept) -> None:
        name = probe.name[:3]
        session = probed.get()
        hints = probes.product_hints(world, session)
        if name in PLACEHOLDERS:
            hints |= probes.placeholder_hints(session)
        budget = 12 if name == "B05" else 25
        cell = probes.cell(FOLDER, probe, world, hints, probes.PRODUCT_ROUTE, budget)
        asked = denying(control_folder(session)) if name == "D07" else contextlib.nullcontext([])
        with asked as denied:
            done = session.run(cell, timeout=110)
        assert bool(denied) == (name == "D07"), "somebody was asked, and only here"
        verdict = probes.outcome(done.text, name)
        assert verdict.startswith("BLOCKED"), f"{verdict} {done.error}"
        if name == "B09":  # it was reflected, and didn't come through
            assert f"Bearer {world.canaries.api}" in world.echoed
        if not any(wall in verdict for wall in STOPPED_BY_THE_WALL.get(name, ())):
            assert "stopped by" not in verdict, f"it did not get to its end: {verdict}"

    @pytest.mark.parametrize("probe", _cases(CANNOT_WIN, strict=False))
    def test_probe_wins_unprotected(probe: Path, world: Stage, naked: Kept, tmp_path: Path) -> None:
        name = probe.name[:3]
        session = naked.get()
        text = probe.read_text()
        for old, new in _WAITS.get(name, ()):
            text = text.replace(old, new)
        edited = tmp_path / probe.name
        edited.write_text(text)
        route = (
            f"RT_NAIVE = {str(naive_socket(session.workspace))!r}\n"
            f"RT_VAULT = {str(world.home / 'vault.json')!r}\n"
            f"RT_SECRET_VALUE = {world.canaries.leaky!r}\n"
            + probes.NAIVE_ROUTE
            + probes.NAIVE_SURROUNDINGS
        )
        if name in ("E01", "E05"):  # nothing of the machine's own Python may be touched
            route += "\nsys.path[:] = [str(_path)]\n"
        hints = probes.naive_hints(world, session)
        try:
            done = session.run(probes.cell(FOLDER, edited, world, hints, route, 8), timeout=110)
            verdict = probes.outcome(done.text, name)
            assert re.match("LEAK", verdict), f"{verdict} {done.error}"
        finally:
            if name in _RUINOUS:
                naked.drop()
