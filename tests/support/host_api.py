"""A private Jupyter with a local AWS behind it, for tests of what drives kernels from outside."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.policies import write_policy

from keyless.localaws.server import LocalAws

ROOT = Path(__file__).parents[2]
KEYLESS = Path(sys.executable).with_name("jupyter-keyless")
#: The AWS CLI of the repository's own environment, for kernels of other environments too.
AWS_CLI = ROOT / ".venv-aws" / "bin" / "aws"


@dataclass
class World:
    """One private Jupyter, and the AWS that its kernels see."""

    home: Path
    aws: LocalAws

    def credential(self, name: str = "aws") -> dict[str, Any]:
        """The local AWS's key, as a host registers it."""
        return {"name": name, "kind": "aws", "fields": self.fields(), "tools": ["aws", "sdk"]}

    def fields(self) -> dict[str, str]:
        """The key's fields."""
        return {
            "access_key_id": self.aws.access_key_id,
            "secret_access_key": self.aws.secret_access_key,
            "region": self.aws.region,
        }

    def store_key(self) -> None:
        """Put the key into the person's vault."""
        subprocess.run(
            [
                KEYLESS,
                "vault",
                "add",
                "aws",
                "--kind=aws",
                "--tool=aws",
                "--tool=sdk",
                "--from-stdin",
            ],
            input=json.dumps(self.fields()),
            text=True,
            check=True,
            capture_output=True,
        )

    def holds_key(self, text: str | bytes) -> bool:
        """Whether something holds the key, or its id."""
        data = text.encode() if isinstance(text, str) else text
        return any(
            value.encode() in data for value in (self.aws.access_key_id, self.aws.secret_access_key)
        )


@contextlib.contextmanager
def world() -> Iterator[World]:
    """Private Jupyter folders, named in the environment, and a local AWS; gone at the end."""
    home = Path(tempfile.mkdtemp(prefix="kl-"))
    home.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch, LocalAws() as aws:
        for name in ("config", "data", "runtime"):
            (home / name).mkdir(mode=0o700)
            patch.setenv(f"JUPYTER_{name.upper()}_DIR", str(home / name))
        write_policy(home / "config" / "keyless" / "policy.cedar")
        (home / "config" / "jupyter_keyless_config.py").write_text(
            f"c.Tools.aws = {{'path': {str(AWS_CLI)!r}}}\n"
            f"c.Egress.upstreams = {{'*.amazonaws.com': {aws.endpoint!r}}}\n"
            f"c.Confinement.minimum = {os.environ.get('KEYLESS_TEST_LEVEL', 'namespaces')!r}\n"
        )
        try:
            yield World(home, aws)
        finally:
            shutil.rmtree(home, ignore_errors=True)
