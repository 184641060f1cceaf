"""The exceptions: one tree, one line each."""

from __future__ import annotations

from typing import get_args

import pytest

from keyless.protocol import errors
from keyless.protocol.messages import FailureKind


def test_everything_is_exported_and_nothing_else() -> None:
    public = {
        name for name in vars(errors) if name[0] != "_" and name not in ("annotations", "Any")
    }
    assert public == set(errors.__all__)


@pytest.mark.parametrize("kind", get_args(FailureKind))
def test_each_failure_has_its_exception(kind: str) -> None:
    error = errors.error_for(kind, "no: because", record_id="k1-000001", result=3)
    assert type(error).__name__ == kind
    assert isinstance(error, errors.ExecError)
    assert (str(error), error.record_id, error.result) == ("no: because", "k1-000001", 3)
    assert error._render_traceback_() == [f"{kind}: no: because"]


def test_an_unknown_failure_is_still_an_exec_error() -> None:
    assert type(errors.error_for("Surprise", "x")) is errors.ExecError
