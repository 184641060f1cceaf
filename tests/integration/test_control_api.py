"""The control API of a real sidecar, by its own client."""

from __future__ import annotations

from tests.support.sidecar import SECRET, Sidecar

from keyless.control_client import ControlClient

ASKING = """
@id("reads") permit (principal, action, resource)
when { context.tool == "leaky" && context has argv_text && context.argv_text like "echo*" };
@id("careful") @outcome("ask") @reason("It writes something.")
permit (principal, action, resource);
"""


async def test_status_names_what_there_is_and_no_value(sidecar: Sidecar) -> None:
    control = ControlClient(sidecar.control)
    status = await control.status()
    assert status["kernel_id"] == "test-kernel"
    assert [tool["name"] for tool in status["tools"]] == ["leaky"]
    assert [entry["name"] for entry in status["credentials"]] == ["canary"]
    assert SECRET not in str(status)
    print(sidecar.log())
