"""``from keyless import secure_session``: temporary keys for a cell, where a person allows them.

::

    with secure_session("deploy", operations=["lambda:UpdateFunctionCode"]) as session:
        session.boto3().client("lambda").update_function_code(...)
        subprocess.run([...], env={**os.environ, **session.environment})

The session ends with the block.  Nothing is set globally unless :meth:`SecureSession.export` is
called.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import import_module
from types import MappingProxyType, TracebackType
from typing import Any, Self

from keyless.magics.cell import cell_info
from keyless.magics.client import SidecarClient, shared_client
from keyless.magics.results import current_execution_count, current_shell
from keyless.magics.running import recorded
from keyless.magics.session_views import session_html, session_text
from keyless.protocol.errors import InvalidRequest, SidecarUnavailable, error_for
from keyless.protocol.messages import (
    MAX_SESSION,
    MAX_SESSION_POLICY,
    MIN_SESSION,
    CloseSession,
    Failed,
    OpenSession,
    SessionClosed,
    SessionOpened,
)

__all__ = ["SecureSession", "secure_session"]

#: Seconds to wait until a session is closed.
_CLOSE_TIMEOUT = 30.0
_MOST, _NAME = 64, 128


def secure_session(
    credential: str,
    *,
    minutes: float = 15,
    operations: str | Iterable[str] | None = None,
    policy: str | Mapping[str, Any] | None = None,
) -> SecureSession:
    """Get temporary keys of a credential that a person turned this on for.

    What they are good for is said by ``operations`` or ``policy``; without either, by what this
    kernel's commands did with the credential lately.  It is never more than what the role and the
    policy of the kernel allow.

    Args:
        credential: name of the vault entry.
        minutes: how long they are valid, from 15 (AWS's least) to 720.
        operations: ``service:Operation``, such as ``lambda:UpdateFunctionCode``.
        policy: an IAM policy that names each action.

    The cell shows what is exposed, to whom, for how long.

    Returns:
        A session that is open; use it in a ``with`` statement, so that it is closed.

    Raises:
        PolicyDenied: it is off for this credential, or a rule says no.
        InvalidRequest: the request makes no sense as it stands.
        SidecarUnavailable: this is no Keyless kernel, or AWS gives no session.
    """
    with recorded("session"):
        client = shared_client()
        seconds = _seconds(minutes)
        names = _operations(operations)
        text = _policy(policy)
        if not isinstance(credential, str) or not 0 < len(credential) <= _NAME:
            raise InvalidRequest("a session is of a credential, by its name in the vault")
        if names is not None and text is not None:
            raise InvalidRequest("a session is for operations or by a policy, not both")
    cell = cell_info()

    def message(number: int) -> OpenSession:
        return OpenSession(
            id=number,
            credential=credential,
            seconds=seconds,
            policy=text,
            operations=names,
            cell=cell,
        )

    answer = client.ask(message)
    if isinstance(answer, Failed):
        raise error_for(answer.kind, answer.message, record_id=answer.record_id)
    if not isinstance(answer, SessionOpened):
        raise SidecarUnavailable("the sidecar's answer makes no sense; restart the kernel")
    session = SecureSession(client, credential, answer)
    session.show()
    return session


class SecureSession:
    """Temporary keys, and how to use and to end them.  Made by :func:`secure_session`.

    Not thread-safe.  The keys stand in no representation of it; they are this kernel's to keep.

    Attributes:
        credential: name of the vault entry.
        name: what CloudTrail shows (role session name, source identity).
        expires: when AWS takes the keys no more, with a time zone.
        actions: what they are good for at most, as IAM's actions.
        exposure: what is exposed, to whom, for how long, in plain words.
        record_id: the audit record.
    """

    def __init__(self, client: SidecarClient, credential: str, opened: SessionOpened) -> None:
        self._client = client
        self._opened: SessionOpened | None = opened
        self._id = opened.session
        self._before: dict[str, str | None] = {}
        self._shown_in: int | None = None
        self.credential = credential
        self.name = opened.name
        self.expires = datetime.fromisoformat(opened.expires)
        self.actions = tuple(opened.actions)
        self.exposure = opened.exposure
        self.record_id = opened.record_id
        #: What closing it said; empty while it is open.
        self.closed = ""

    @property
    def open(self) -> bool:
        """Whether the keys can be used still."""
        return self._opened is not None and datetime.now(UTC) < self.expires

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables for a program that speaks to AWS: the keys, and the region.

        Raises:
            InvalidRequest: the session has ended.
        """
        opened = self._require()
        found = {
            "AWS_ACCESS_KEY_ID": opened.access_key_id,
            "AWS_SECRET_ACCESS_KEY": opened.secret_access_key,
            "AWS_SESSION_TOKEN": opened.session_token,
        }
        if opened.region:
            found["AWS_DEFAULT_REGION"] = opened.region
        return MappingProxyType(found)

    def boto3(self, **options: Any) -> Any:
        """A ``boto3.Session`` with the keys.

        Args:
            options: further ones of ``boto3.Session``, such as ``region_name``.

        Raises:
            InvalidRequest: the session has ended, or boto3 isn't installed in this environment.
        """
        opened = self._require()
        try:
            boto3 = import_module("boto3")
        except ImportError:
            raise InvalidRequest(
                "boto3 is not installed here; use session.environment with another client"
            ) from None
        keys = {
            "aws_access_key_id": opened.access_key_id,
            "aws_secret_access_key": opened.secret_access_key,
            "aws_session_token": opened.session_token,
        }
        region = {"region_name": opened.region} if opened.region else {}
        return boto3.Session(**{**region, **options, **keys})

    def export(self) -> Self:
        """Put the keys into this process's environment until the session is closed.

        Raises:
            InvalidRequest: the session has ended.
        """
        for name, value in self.environment.items():
            self._before.setdefault(name, os.environ.get(name))
            os.environ[name] = value
        return self

    def show(self) -> None:
        """Show in the running cell what is exposed; the same cell shows it no second time."""
        if current_shell() is None:
            print(session_text(self))
            return
        import_module("IPython.display").display(self)
        self._shown_in = current_execution_count()

    def close(self) -> str:
        """End the session; doing it twice is fine.

        Returns:
            What has ended, and what hasn't.

        Raises:
            SidecarUnavailable: the sidecar is gone, or can't record it.
        """
        if self._opened is None:
            return self.closed
        # First of all: whatever the sidecar says, this object gives no keys any more.
        self._opened = None
        self._restore()
        self.closed = "The session is closed in this kernel."
        try:
            answer = self._client.ask(
                lambda number: CloseSession(id=number, session=self._id), _CLOSE_TIMEOUT
            )
        except TimeoutError:
            raise SidecarUnavailable(
                "the sidecar did not say in time that the session is closed"
            ) from None
        if isinstance(answer, Failed) and answer.kind != "InvalidRequest":
            raise error_for(answer.kind, answer.message, record_id=answer.record_id)
        if isinstance(answer, SessionClosed):
            self.closed = answer.message
        elif isinstance(answer, Failed):
            self.closed = "The session had ended already."
        return self.closed

    def __enter__(self) -> Self:
        self._require()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
            return
        with contextlib.suppress(SidecarUnavailable):  # the block's own error tells more
            self.close()

    def __repr__(self) -> str:
        return session_text(self)

    def __reduce__(self) -> Any:
        raise TypeError("a session can't be copied or pickled")

    def _ipython_display_(self) -> None:
        if self._shown_in is None or self._shown_in != current_execution_count():
            raise NotImplementedError  # IPython goes on to the other representations

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": session_text(self), "text/html": session_html(self)}

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(session_text(self))

    def _require(self) -> SessionOpened:
        if self._opened is None:
            raise InvalidRequest(
                "this session was closed; open a new one", record_id=self.record_id
            )
        if not self.open:
            raise InvalidRequest(
                "this session has expired; open a new one", record_id=self.record_id
            )
        return self._opened

    def _restore(self) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._before.clear()


def _seconds(minutes: float) -> int:
    least, most = MIN_SESSION // 60, MAX_SESSION // 60
    # "not (… <= …)": NaN compares false with everything.
    if isinstance(minutes, bool) or not isinstance(minutes, int | float):
        raise InvalidRequest(f"minutes is a number, not {type(minutes).__name__}")
    if not least <= minutes <= most:
        raise InvalidRequest(f"a session lasts {least} (AWS's least) to {most} minutes")
    return round(minutes * 60)


def _operations(operations: str | Iterable[str] | None) -> list[str] | None:
    if operations is None:
        return None
    given = operations.split(",") if isinstance(operations, str) else list(operations)
    if not all(isinstance(name, str) for name in given):
        raise InvalidRequest("operations are texts like lambda:UpdateFunctionCode")
    names = list(dict.fromkeys(name.strip() for name in given if name.strip()))
    if not 0 < len(names) <= _MOST or any(len(name) > _NAME for name in names):
        raise InvalidRequest(f"name 1 to {_MOST} operations, like lambda:UpdateFunctionCode")
    return names


def _policy(policy: str | Mapping[str, Any] | None) -> str | None:
    if policy is None:
        return None
    try:
        given = json.loads(policy) if isinstance(policy, str) else policy
        # Without spaces, which count for STS too.
        text = json.dumps(given, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        raise InvalidRequest("the policy is no JSON") from None
    if len(text) > MAX_SESSION_POLICY:
        raise InvalidRequest(
            f"the policy has {len(text)} characters, and STS takes {MAX_SESSION_POLICY}"
        )
    return text
