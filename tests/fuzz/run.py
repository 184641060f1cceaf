"""``make fuzz``: every fuzz target for ``FUZZ_SECONDS`` (60), or those that are named.

``python -m tests.fuzz.run [TARGET ...]`` prints one line a target; the exit status is 1 where
something was found, and its smallest value is a case file then.
"""

from __future__ import annotations

import os
import sys
import time

from tests.fuzz.engine import TARGETS, Found, fuzz


def main() -> int:
    """Run and report."""
    seconds = float(os.environ.get("FUZZ_SECONDS", "60"))
    unknown = set(sys.argv[1:]) - set(TARGETS)
    if unknown:
        print(f"no such target: {', '.join(sorted(unknown))} (known: {', '.join(TARGETS)})")
        return 2
    failed = False
    for name in sys.argv[1:] or TARGETS:
        begin = time.monotonic()
        try:
            count = fuzz(TARGETS[name], seconds)
        except Found as found:
            failed = True
            print(f"{name:10}  FOUND  {found}", flush=True)
        else:
            rate = count / (time.monotonic() - begin)
            print(f"{name:10}  nothing found in {count} values ({rate:.0f} a second)", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
