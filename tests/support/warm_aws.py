"""The AWS CLI for tests that run it many times: imported once, forked for each command."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from tests.support.egress import AWS_CLI

__all__ = ["WarmAws"]

# The parent makes a driver and a client too, for all that is imported and read then; each child
# makes its own of that.
_SERVER = """
import json, os, sys, tempfile, traceback
import awscli.clidriver
os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
session = awscli.clidriver.create_clidriver().session
reader = sys.modules[type(session.get_component("data_loader")).__module__].JSONFileLoader
read, known = reader.load_file, {}
reader.load_file = lambda self, path: (
    known[path] if path in known else known.setdefault(path, read(self, path))
)
for service in ("sts", "s3"):
    session.create_client(
        service, "us-east-1", aws_access_key_id="none", aws_secret_access_key="none"
    )
for line in sys.stdin:
    job = json.loads(line)
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if not child:
            code = 255
            try:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                kept = {"AWS_DATA_PATH": os.environ["AWS_DATA_PATH"]}  # set by the import
                os.environ.clear()
                os.environ.update(kept | job["environment"])
                sys.argv = ["aws", *job["argv"]]
                code = awscli.clidriver.main()
            except SystemExit as end:
                code = end.code
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code if isinstance(code, int) else 255)
        _, status = os.waitpid(child, 0)
        said.seek(0)
        text = said.read().decode()
    print(json.dumps([os.waitstatus_to_exitcode(status), text]), flush=True)
"""


class WarmAws:
    """A context manager."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [AWS_CLI.with_name("python"), "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait(30)

    def run(self, argv: list[str], environment: Mapping[str, str]) -> tuple[int, str]:
        """One command, with exactly this environment: exit status, and all that it prints."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("no pipes")
        job = {"argv": argv, "environment": dict(environment)}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        code, said = json.loads(self._process.stdout.readline())
        return code, said
