"""``secure_call``: an SDK call in the sidecar, beside boto3 in a plain kernel with the key."""

from __future__ import annotations

from benchmarks.measuring import in_turn
from benchmarks.outcome import Group, Outcome
from benchmarks.stage import Stage

_SECURED = """
    import time
    from keyless import secure_call

    def once():
        begun = time.perf_counter()
        secure_call("sts", "get_caller_identity")
        return time.perf_counter() - begun
"""
_DIRECT = """
    import time, boto3
    client = boto3.client("sts", **{keys!r})

    def once():
        begun = time.perf_counter()
        client.get_caller_identity()
        return time.perf_counter() - begun
"""


def sts(stage: Stage) -> Outcome:
    """STS by both, each with the client that it keeps."""
    keys = {
        "region_name": stage.aws.region,
        "endpoint_url": stage.aws.endpoint,
        "aws_access_key_id": stage.aws.access_key_id,
        "aws_secret_access_key": stage.aws.secret_access_key,
    }
    with stage.keyless() as keyless, stage.plain() as plain:
        keyless.define(_SECURED)
        plain.define(_DIRECT.format(keys=keys))
        sides = {
            "secure_call": lambda: keyless.value("once()"),
            "boto3 direct": lambda: plain.value("once()"),
        }
        took = in_turn(sides, stage.rounds(150), warmup=5)
    found = Outcome([Group("STS GetCallerIdentity", "s", took)])
    title = "secure_call beyond boto3 direct"
    found.beyond("call.sts", title, "ms", took["secure_call"], took["boto3 direct"], scale=1000)
    return found
