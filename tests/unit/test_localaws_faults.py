"""Refusals come in each service's own format."""

from __future__ import annotations

import json

import pytest
from botocore.parsers import create_parser

from keyless.localaws.faults import Fault, Refusal, code_of, render


@pytest.mark.parametrize("protocol", ["query", "ec2", "rest-xml", "rest-json", "json"])
@pytest.mark.parametrize("fault", list(Fault))
def test_botocore_reads_every_refusal(protocol: str, fault: Fault) -> None:
    refusal = Refusal(fault, 'No <b>entry</b> & no "exit"', protocol)
    answer = render(refusal, "req-1")
    parsed = create_parser(protocol).parse(
        {
            "status_code": answer.status,
            "headers": {name.lower(): value for name, value in answer.headers},
            "body": answer.body,
        },
        None,
    )
    assert parsed["Error"]["Code"] == code_of(refusal)
    assert parsed["Error"]["Message"] == 'No <b>entry</b> & no "exit"'
    assert answer.status >= 400


def test_a_service_that_nobody_knows_gets_xml() -> None:
    answer = render(Refusal(Fault.UNKNOWN_OPERATION, "what?"), "req-1")
    assert answer.body.startswith(b"<ErrorResponse>")


def test_the_codes_are_those_of_aws() -> None:
    def code(fault: Fault, protocol: str) -> str:
        return code_of(Refusal(fault, "", protocol))

    assert code(Fault.BAD_SIGNATURE, "query") == "SignatureDoesNotMatch"
    assert code(Fault.BAD_SIGNATURE, "rest-json") == "InvalidSignatureException"
    assert code(Fault.BAD_SIGNATURE, "ec2") == "AuthFailure"
    assert code(Fault.DENIED, "rest-xml") == "AccessDenied"
    assert code(Fault.DENIED, "rest-json") == "AccessDeniedException"
    assert code(Fault.SKEWED, "rest-xml") == "RequestTimeTooSkewed"
    assert json.loads(render(Refusal(Fault.DENIED, "no", "json"), "1").body)["__type"]
