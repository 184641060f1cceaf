"""The targets: which figure shall be how large at most, or at least."""

from __future__ import annotations

import dataclasses

from benchmarks.outcome import Unit


@dataclasses.dataclass(frozen=True)
class Target:
    """One row of the table.

    Attributes:
        what: in words.
        key: of the figure.
        limit: what it shall keep to.
        unit: of both.
        least: whether the limit is the least that is good, not the most.
        subject: that measures it.
    """

    what: str
    key: str
    limit: float
    unit: Unit
    subject: str
    least: bool = False

    def met(self, value: float) -> bool:
        """Whether a figure keeps to it."""
        return value >= self.limit if self.least else value <= self.limit

    @property
    def wanted(self) -> str:
        """The limit in words."""
        unit = "" if self.unit == "×" else f" {self.unit}"
        return f"{'≥' if self.least else '≤'} {self.limit:g}{unit}"


TARGETS = (
    Target("`%secure_exec aws sts get-caller-identity` ÷ bare v1", "aws.sts.v1", 0.15, "×", "aws"),
    Target("the same ÷ bare Debian v2", "aws.sts.v1_v2", 0.05, "×", "aws"),
    Target("the same by Debian v2, secured ÷ bare", "aws.sts.v2", 0.05, "×", "aws"),
    Target("3 MB Lambda update ÷ bare v1", "aws.lambda", 0.35, "×", "lambda"),
    Target("64 MB `s3 cp` ÷ bare v1", "aws.s3", 0.75, "×", "s3"),
    Target("`true` as a tool, beyond `subprocess.run`", "tool.true", 8, "ms", "tool"),
    Target("`secure_call` STS beyond boto3 direct", "call.sts", 1.5, "ms", "call"),
    Target("proxy: added latency, p50", "proxy.latency", 0.7, "ms", "proxy"),
    Target("proxy: TLS stream, up", "proxy.up", 300, "MB/s", "proxy", True),
    Target("proxy: TLS stream, down", "proxy.down", 300, "MB/s", "proxy", True),
    Target("proxy: the sidecar's RSS at most", "proxy.rss", 80, "MB", "proxy"),
    Target("sanitizer (1,000 secrets): 64 KB", "sanitizer.large", 150, "MB/s", "sanitizer", True),
    Target("sanitizer (1,000 secrets): 40 bytes", "sanitizer.small", 10, "MB/s", "sanitizer", True),
    Target("kernel start to first reply ÷ plain ipykernel", "kernel.start", 1.05, "×", "start"),
    Target("cell round trip (`1+1`) ÷ plain ipykernel", "kernel.cell", 1.05, "×", "cell"),
    Target("memory beyond plain ipykernel: idle sidecar (PSS)", "memory.idle", 45, "MB", "memory"),
    Target("memory beyond plain ipykernel: with warm aws (PSS)", "memory.warm", 90, "MB", "memory"),
    Target("24 kernels at once, start of all ÷ 24 plain ones", "crowd.start", 1.3, "×", "crowd"),
)  # fmt: skip
