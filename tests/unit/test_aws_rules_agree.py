"""The real AWS CLI reads the rewritten line as the rules did.

Needs the AWS CLI v1 that ``make`` installs beside the environment; nothing is sent.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from keyless_sidecar.tools import Tool, check
from keyless_sidecar.workspace import WorkspaceRoot

PYTHON = Path(f"{sys.prefix}-aws/bin/python")

#: Runs in the CLI's own interpreter: prints what each line would call.
DRIVER = """
import contextlib, io, json, sys
from awscli import clidriver
from awscli.customizations.s3 import subcommands
calls = []
def invoke(self, service, operation, parameters, shared):
    calls.append([service, operation, json.dumps(parameters, default=str, sort_keys=True),
                  shared.region, shared.output, shared.endpoint_url, shared.paginate])
    return 0
def run(self, arguments, shared):
    calls.append(["s3", self.NAME, json.dumps(vars(arguments), default=str, sort_keys=True),
                  shared.region, shared.output, shared.endpoint_url, shared.paginate])
    return 0
clidriver.CLIOperationCaller.invoke = invoke
for command in (subcommands.S3TransferCommand, subcommands.ListCommand):
    command._run_main = run
for line in json.load(sys.stdin):
    calls.clear()
    with contextlib.redirect_stderr(io.StringIO()) as err:
        code = clidriver.create_clidriver().main(line)
    print(json.dumps([code, calls, err.getvalue()[-200:]]))
"""

LINES = [
    ["sts", "get-caller-identity", "--region", "us-east-1", "--output", "text"],
    ["lambda", "invoke", "--function-name", "f", "--payload", '{"a": 1}', "out.json"],
    ["lambda", "invoke", "out.json", "--function-name=f", "--region=us-east-1"],
    ["sns", "publish", "--topic-arn", "t", "--message=--endpoint-url=http://x"],
    ["sns", "publish", "--topic-arn", "t", "--message=- a b"],
    ["sns", "publish", "--topic-arn", "t", "--message="],
    ["ec2", "describe-instances", "--instance-ids", "i-1", "i-2", "--no-paginate"],
    ["ec2", "describe-instances", "--filters", "Name=a,Values=b,c", "--region", "eu-west-1"],
    ["ec2", "modify-vpc-attribute", "--vpc-id", "v", "--enable-dns-support"],
    ["s3api", "get-object", "--bucket", "bbb", "--region", "us-east-1", "--key", "k", "o"],
    ["s3api", "list-objects-v2", "--bucket", "bbb", "--max-items", "3"],
    ["dynamodb", "put-item", "--table-name", "t", "--item", '{"a": {"S": "x"}}'],
    ["cloudwatch", "put-metric-data", "--namespace", "n", "--metric-name", "m", "--value", "-1"],
    ["s3", "cp", "s3://bbb/k", "-", "--quiet"],
    ["s3", "cp", "s3://bbb/k", "s3://bbb/l", "--recursive", "--exclude", "*", "--include", "x"],
    ["s3", "ls", "s3://bbb", "--recursive"],
    ["s3", "ls"],
]


def test_the_cli_understands_the_same(tmp_path: Path) -> None:
    tool = Tool("aws", "/usr/bin/aws", rules="aws")
    with WorkspaceRoot(tmp_path) as root:
        checked = [check(tool, line, root, "") for line in LINES]
    written = [list(done.argv) for done in checked]
    done = subprocess.run(
        [str(PYTHON), "-I", "-B", "-c", DRIVER],
        input=json.dumps(LINES + written),
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    for line, result, given, rewritten in zip(
        LINES, checked, answers[: len(LINES)], answers[len(LINES) :], strict=True
    ):
        assert given == rewritten, line
        assert given[0] == 0, line
        [call] = given[1]
        assert call[5] is None, line
        if line[0] != "s3":
            assert result.operation == f"aws:{call[0]}:{call[1]}"
