"""What subjects act on: a private Jupyter, a local AWS, kernels, and options of the run."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.cells import Cells
from benchmarks.machine import AWS_V1, AWS_V2
from benchmarks.peers import Peers
from tests.support.policies import write_policy

from keyless.localaws.private_jupyter import PrivateJupyter, private_jupyter
from keyless.localaws.server import LocalAws

SANDBOX_UID = 61000


class Stage:
    """Made once for a run; a context manager.  What a subject asks for starts when it asks.

    Args:
        quick: few rounds and short curves.
        full: curves up to their ends, however long it takes.
    """

    def __init__(self, *, quick: bool = False, full: bool = False) -> None:
        self.quick = quick
        self.full = full
        self.peers = Peers()
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.jupyter: PrivateJupyter = self._open.enter_context(private_jupyter())
        folder = tempfile.TemporaryDirectory(prefix="kl-bench-")
        self.folder = Path(self._open.enter_context(folder))
        self.folder.chmod(0o755)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def rounds(self, many: int) -> int:
        """How many samples a side gets."""
        return max(many // 5, 3) if self.quick else many

    @cached_property
    def aws(self) -> LocalAws:
        """A local AWS, and Keyless's configuration that puts it in the place of the real one."""
        aws = self._open.enter_context(LocalAws())
        self.configure({"*.amazonaws.com": aws.endpoint})
        return aws

    def configure(self, upstreams: dict[str, str], *, second_aws: bool = False) -> None:
        """Write the configuration that kernels start with from now on.

        Args:
            upstreams: as ``c.Egress.upstreams``.
            second_aws: whether Debian's AWS CLI is declared as ``aws2``, beside the built-in tool.
        """
        declared: dict[str, dict[str, Any]] = {
            "true": {"path": "/usr/bin/true", "delivery": "none"},
            "head": {
                "path": "/usr/bin/head",
                "delivery": "none",
                "max_output": 2 << 30,
                "timeout": 900,
            },
        }
        if second_aws:
            declared["aws2"] = {"rules": "aws", "path": str(AWS_V2)}
        root = Path(os.environ["JUPYTER_CONFIG_DIR"])
        write_policy(root / "keyless" / "policy.cedar")
        (root / "jupyter_keyless_config.py").write_text(
            f"c.Egress.upstreams = {upstreams!r}\n"
            f"c.Tools.declared = {declared!r}\n"
            "c.Tools.max_requests = 32\n"
        )

    @contextlib.contextmanager
    def second_aws(self, wanted: bool) -> Iterator[None]:
        """Declare Debian's AWS CLI too, for the kernels that start within."""
        upstreams = {"*.amazonaws.com": self.aws.endpoint}
        self.configure(upstreams, second_aws=wanted)
        try:
            yield
        finally:
            self.configure(upstreams)

    @property
    def credentials(self) -> list[dict[str, Any]]:
        """The local AWS's key, for tools and calls."""
        fields = {
            "access_key_id": self.aws.access_key_id,
            "secret_access_key": self.aws.secret_access_key,
            "region": self.aws.region,
        }
        return [{"name": "local", "kind": "aws", "fields": fields, "tools": ["aws", "aws2", "sdk"]}]

    @property
    def aws_environment(self) -> dict[str, str]:
        """The same key, held by a bare command."""
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder),
            "AWS_ACCESS_KEY_ID": self.aws.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.aws.secret_access_key,
            "AWS_DEFAULT_REGION": self.aws.region,
            "AWS_ENDPOINT_URL": self.aws.endpoint,
        }

    def bare_aws(self, version: int, *arguments: str) -> list[str]:
        """The command line of a bare AWS CLI.

        Raises:
            FileNotFoundError: it isn't installed.
        """
        path = AWS_V1 if version == 1 else AWS_V2
        if not path.exists():
            raise FileNotFoundError(f"the AWS CLI v{version} isn't installed")
        # Debian's v2 doesn't know AWS_ENDPOINT_URL.
        return [str(path), *arguments, *(["--endpoint-url", self.aws.endpoint] * (version == 2))]

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """A folder that sandboxed processes may write in."""
        with tempfile.TemporaryDirectory(prefix="work-", dir=self.folder) as name:
            folder = Path(name)
            folder.chmod(0o755)
            if os.geteuid() == 0:
                os.chown(folder, SANDBOX_UID, SANDBOX_UID)
            yield folder

    @contextlib.contextmanager
    def keyless(self, **options: Any) -> Iterator[Cells]:
        """A Keyless kernel with the local AWS's key."""
        options.setdefault("keyless_credentials", self.credentials)
        with Cells("keyless", **options) as cells:
            yield cells

    @contextlib.contextmanager
    def plain(self) -> Iterator[Cells]:
        """A plain ipykernel."""
        with Cells("python3") as cells:
            yield cells
