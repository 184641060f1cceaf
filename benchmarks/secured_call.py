"""How much a secured command costs beside the bare one; called by ``make bench``.

Every pair runs interleaved in one process tree against the same local AWS; reported are medians,
95th percentiles and the ratio of the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from jupyter_client.manager import start_new_kernel

from keyless.localaws.server import LocalAws

ROOT = Path(__file__).parent.parent
AWS = ROOT / ".venv-aws" / "bin" / "aws"
Seconds = float


def timed(action: Callable[[], object]) -> Seconds:
    """Wall time of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def pair(
    name: str, bare: Callable[[], object], secured: Callable[[], object], rounds: int
) -> dict[str, object]:
    """Measure two actions in turn; the first round of each warms up and does not count."""
    times: dict[str, list[Seconds]] = {"bare": [], "secured": []}
    for index in range(rounds + 1):
        for side, action in (("bare", bare), ("secured", secured)):
            seconds = timed(action)
            if index:
                times[side].append(seconds)
    median = {side: statistics.median(values) for side, values in times.items()}
    row = {
        "name": name,
        "rounds": rounds,
        **{f"{side}_median_ms": round(median[side] * 1000, 1) for side in times},
        **{
            f"{side}_p95_ms": round(sorted(v)[int(len(v) * 0.95)] * 1000, 1)
            for side, v in times.items()
        },
        "ratio": round(median["secured"] / median["bare"], 2),
    }
    print(
        f"{name:32} bare {row['bare_median_ms']:>8} ms   secured {row['secured_median_ms']:>8} ms"
        f"   ratio {row['ratio']}",
        flush=True,
    )
    return row


class Cells:
    """A running kernel that executes code and raises where the cell did."""

    def __init__(self, kernel_name: str, **options: object) -> None:
        self.manager, self.client = start_new_kernel(kernel_name=kernel_name, **options)

    def run(self, code: str) -> None:
        """Run one cell."""
        reply = self.client.execute_interactive(code, timeout=120, output_hook=lambda _: None)
        if reply["content"]["status"] != "ok":
            raise RuntimeError(reply["content"]["evalue"])

    def close(self) -> None:
        """Shut the kernel down."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def start_and_stop(kernel_name: str) -> None:
    """A kernel's start to its first answer, and its end."""
    Cells(kernel_name).close()


def measure(folder: Path, rounds: int) -> list[dict[str, object]]:
    """All pairs, against a local AWS of their own."""
    for name in ("config", "data", "runtime"):
        (folder / name).mkdir(mode=0o700)
        os.environ[f"JUPYTER_{name.upper()}_DIR"] = str(folder / name)
    with LocalAws() as aws:
        (folder / "config" / "jupyter_keyless_config.py").write_text(
            f"c.Egress.upstreams = {{'*.amazonaws.com': {aws.endpoint!r}}}\n"
        )
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "AWS_ACCESS_KEY_ID": aws.access_key_id,
            "AWS_SECRET_ACCESS_KEY": aws.secret_access_key,
            "AWS_DEFAULT_REGION": aws.region,
            "AWS_ENDPOINT_URL": aws.endpoint,
        }
        fields = {
            "access_key_id": aws.access_key_id,
            "secret_access_key": aws.secret_access_key,
            "region": aws.region,
        }
        credential = {"name": "local", "kind": "aws", "fields": fields, "tools": ["aws"]}
        payload = folder / "three.bin"
        payload.write_bytes(os.urandom(3 << 20))

        def bare(*arguments: str) -> None:
            subprocess.run(
                [AWS, *arguments], env=environment, cwd=folder, check=True, capture_output=True
            )

        keyless = Cells("keyless", keyless_credentials=[credential])
        plain = Cells("python3")
        keyless.run("import os; open('three.bin', 'wb').write(os.urandom(3 << 20)); None")
        upload = ("s3", "cp", "three.bin", f"s3://{aws.bucket}/three.bin")
        rows = [
            pair(
                "aws sts get-caller-identity",
                lambda: bare("sts", "get-caller-identity"),
                lambda: keyless.run("%secure_exec aws sts get-caller-identity"),
                rounds,
            ),
            pair(
                "3 MB upload by aws s3 cp",
                lambda: bare(*upload),
                lambda: keyless.run(f"%secure_exec aws {' '.join(upload)}"),
                rounds,
            ),
            pair(
                "cell round trip (1+1)", lambda: plain.run("1+1"), lambda: keyless.run("1+1"), 200
            ),
        ]
        keyless.close()
        plain.close()
    rows.append(
        pair(
            "kernel start and end",
            lambda: start_and_stop("python3"),
            lambda: start_and_stop("keyless"),
            max(rounds // 2, 3),
        )
    )
    return rows


def main() -> int:
    """Measure and write ``results.json`` and ``results.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    if not AWS.exists():
        print("the AWS CLI is missing; run make bench", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="kl-bench-") as name:
        Path(name).chmod(0o755)
        rows = measure(Path(name), options.rounds)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "results.json").write_text(json.dumps(rows, indent=2) + "\n")
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(row[column]) for column in columns) + " |" for row in rows]
    (options.output / "results.md").write_text("\n".join(lines) + "\n")
    print(f"written to {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
