"""A sidecar whose zygotes do less than they should, or more, to show that nobody trusts them.

``python -I altered_warm.py serve ...``: the real sidecar.  When a zygote is started, its program's
text is altered as the file says that ``ALTERATION`` names.  What idles is looked at often.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from keyless_sidecar.__main__ import main
from keyless_sidecar.execution import ready
from keyless_sidecar.warm import joining, plan, zygotes

_CONFINED = "        confine(plan)\n"
#: Name → what stands in the program, and what takes its place.
ALTERATIONS = {
    "nothing": ("", ""),
    "keeps its rights": (
        "    renounce()\n    require(LIBC.prctl(NO_NEW",
        "    require(LIBC.prctl(NO_NEW",
    ),
    "keeps its bounding set": ("        if LIBC.prctl(CAPBSET_DROP", "        if 0 * LIBC.prctl(0"),
    "lays no filter": ('in plan["filters"]:', "in ():"),
    "lays one filter": ('in plan["filters"]:', 'in plan["filters"][:1]:'),
    "keeps a file": (_CONFINED, _CONFINED + '        os.open("/dev/null", 0)\n'),
    "keeps a thread": (
        _CONFINED,
        _CONFINED + "        threading.Thread(target=time.sleep, args=(60,)).start()\n",
    ),
    "raises": (_CONFINED, '        raise ValueError("this is altered")\n'),
    "ends at once": (_CONFINED, "        os._exit(0)\n"),
    "never answers": (_CONFINED, "        time.sleep(600)\n"),
    "never forks": ("        if os.fork() == 0:", "        if time.sleep(600):"),
}
_KINDS = {"mnt": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000}
_KINDS |= {"pid": 0x20000000, "net": 0x40000000}
for _name, _kind in _KINDS.items():
    ALTERATIONS[f"stays out of {_name}"] = (
        "        require(LIBC.setns(namespace, kind)",
        f"        require(kind != {_kind} and LIBC.setns(namespace, kind)",
    )


#: The sidecar empties its environment.
_CHOICE = Path(os.environ.get("ALTERATION", ""))


def altered() -> str:
    """The program's text."""
    name = _CHOICE.read_text(encoding="utf-8")
    old, new = ALTERATIONS[name]
    joining.GATE_TIMEOUT = 1.0 if name.startswith("never") else 30.0
    text = plan.program()
    if old not in text:
        raise ValueError(f"{old!r} is not in the program any more")
    return text.replace(old, new)


if __name__ == "__main__":
    zygotes.program = altered  # type: ignore[attr-defined]
    zygotes.START_TIMEOUT = 4.0
    ready._PERIOD = 0.1
    sys.exit(main(sys.argv[1:]))
