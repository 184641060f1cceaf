"""What is measured; `SUBJECTS` names all of it, in the order in which it runs."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.outcome import Outcome
from benchmarks.stage import Stage
from benchmarks.subjects import aws, call, growth, kernel, proxy, sanitizer, tool

SUBJECTS: dict[str, Callable[[Stage], Outcome]] = {
    "aws": aws.sts,
    "lambda": aws.update_lambda,
    "s3": aws.copy_to_s3,
    "tool": tool.launch,
    "call": call.sts,
    "proxy": proxy.requests,
    "sanitizer": sanitizer.redaction,
    "start": kernel.start,
    "cell": kernel.cell,
    "memory": kernel.memory,
    "crowd": kernel.crowd,
    "output": growth.output,
    "commands": growth.commands,
    "workspace": growth.workspace,
}
