"""Fixtures for every kind of test: private Jupyter folders, nothing of the person's is used."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from tests.support.policies import write_policy

# A machine that stalls fails no property: how long an example takes is none of the tests' business.
settings.register_profile("keyless", deadline=None)
settings.load_profile("keyless")


@pytest.fixture
def jupyter_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short, private place for Jupyter's config, data and runtime folders.

    The path is short since socket addresses have 107 bytes, and accessible to the sandbox's user
    where the workspace lies in it.
    """
    home = Path(tempfile.mkdtemp(prefix="kl-"))
    home.chmod(0o755)
    for name in ("config", "data", "runtime"):
        (home / name).mkdir(mode=0o700)
        monkeypatch.setenv(f"JUPYTER_{name.upper()}_DIR", str(home / name))
    write_policy(home / "config" / "keyless" / "policy.cedar")
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def sandbox_user() -> int:
    """Host uid that sandboxed processes have here."""
    return 61000 if os.geteuid() == 0 else os.geteuid()
