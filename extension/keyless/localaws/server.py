"""The local AWS as one object: moto in a process of its own, the strict front before it.

For the demo, the tests and Binder::

    with LocalAws() as aws:
        boto3.client("lambda", endpoint_url=aws.endpoint, aws_access_key_id=aws.access_key_id, ...)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from keyless.localaws import policy, setup
from keyless.localaws.front import Front, Gatekeeper, LoggedCall
from keyless.localaws.operations import Catalogue
from keyless.localaws.principals import Principal, Principals
from keyless.localaws.trail import Event, event_of

#: How long moto may take to come up, in seconds.
START_TIMEOUT = 60.0


class LocalAwsError(RuntimeError):
    """The local AWS can't start; one sentence that says why."""


class LocalAws:
    """An AWS on this machine that checks signatures, clocks, bodies and policies.

    A context manager, sync and async.  Not thread-safe, but :attr:`requests` may be read anywhere.

    Args:
        bucket: the one bucket that the user may use (``<bucket>-private`` exists too, and is
            refused).
        user_policy: the user's IAM policy; by default Lambda, the bucket and GetCallerIdentity.
        roles: policies of roles that the user may assume (if its own policy lets it), by name.
    """

    region = setup.REGION
    account = setup.ACCOUNT

    def __init__(
        self,
        *,
        bucket: str = "pictures",
        user_policy: policy.Document | None = None,
        roles: Mapping[str, policy.Document] | None = None,
    ) -> None:
        self.bucket = bucket
        self._policy = policy.check_document(user_policy or setup.default_policy(bucket))
        self._roles = {k: policy.check_document(v) for k, v in (roles or {}).items()}
        self._moto: subprocess.Popen[str] | None = None
        self._front: Front | None = None
        self._user: setup.Prepared | None = None

    @property
    def endpoint(self) -> str:
        """Where it listens: ``http://127.0.0.1:PORT``."""
        if self._front is None:
            raise LocalAwsError("The local AWS has not been started.")
        return f"http://127.0.0.1:{self._front.port}"

    @property
    def access_key_id(self) -> str:
        """Id of the key, fresh for this run."""
        return self._prepared.access_key_id

    @property
    def secret_access_key(self) -> str:
        """The key itself."""
        return self._prepared.secret_access_key

    @property
    def user_arn(self) -> str:
        """The user that the key belongs to."""
        return self._prepared.arn

    @property
    def role_arn(self) -> str:
        """The execution role for Lambda functions."""
        return setup.role_arn(setup.ROLE)

    @property
    def requests(self) -> tuple[LoggedCall, ...]:
        """What was asked so far: operation, principal, allowed or not."""
        return self._front.log if self._front else ()

    @property
    def events(self) -> tuple[Event, ...]:
        """The same as CloudTrail tells it: who did what, from which session."""
        return tuple(event_of(call) for call in self.requests)

    @property
    def pid(self) -> int:
        """Process id of moto, 0 while it doesn't run."""
        return self._moto.pid if self._moto else 0

    def start(self) -> None:
        """Start both parts; returns when they serve.

        Raises:
            LocalAwsError: moto isn't installed or doesn't come up.
        """
        if self._front is not None:
            raise LocalAwsError("This local AWS has been started already.")
        if find_spec("moto") is None or find_spec("flask") is None:
            raise LocalAwsError("moto is missing: pip install 'keyless[demo]'.")
        secret = secrets.token_urlsafe(32)
        try:
            self._moto = self._spawn(secret)
            principals = Principals({setup.role_arn(n): d for n, d in self._roles.items()})
            catalogue = Catalogue(setup.ACCOUNT)  # read while moto starts
            url = f"http://127.0.0.1:{self._port()}"
            self._user = setup.prepare(
                url, secret, bucket=self.bucket, user_policy=self._policy, roles=self._roles
            )
            principals.add(
                Principal(
                    arn=self._user.arn,
                    access_key_id=self._user.access_key_id,
                    secret=self._user.secret_access_key,
                    token="",
                    identity=(self._policy,),
                )
            )
            self._front = Front(Gatekeeper(catalogue, principals), url, secret)
            self._front.start()
        except OSError as error:
            self.stop()
            raise LocalAwsError(f"moto can't be started: {error}.") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End both parts.  May be called twice; what :attr:`requests` says stays."""
        if self._front is not None:
            self._front.stop()
        moto, self._moto = self._moto, None
        if moto is not None:
            if moto.stdin:
                with contextlib.suppress(BrokenPipeError):
                    moto.stdin.close()  # its end is moto's
            try:
                moto.wait(2)
            except subprocess.TimeoutExpired:
                moto.kill()
                moto.wait()
            if moto.stdout:
                moto.stdout.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.stop)

    @property
    def _prepared(self) -> setup.Prepared:
        if self._user is None:
            raise LocalAwsError("The local AWS has not been started.")
        return self._user

    def _spawn(self, secret: str) -> subprocess.Popen[str]:
        moto = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("moto_process.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            # nothing of the person's environment: no AWS_*, no MOTO_*, no proxy
            env={"PATH": os.defpath, "HOME": "/nonexistent", "LANG": "C.UTF-8"},
            start_new_session=True,  # Ctrl-C on the terminal is the parent's affair
            text=True,
        )
        if moto.stdin:
            moto.stdin.write(secret + "\n")
            moto.stdin.flush()
        return moto

    def _port(self) -> int:
        moto, deadline = self._moto, time.monotonic() + START_TIMEOUT
        if moto is None or moto.stdout is None:
            raise LocalAwsError("moto was not started.")
        ready, _, _ = select.select([moto.stdout], [], [], max(0.0, deadline - time.monotonic()))
        line = moto.stdout.readline() if ready else ""
        if not line.strip().isdigit():
            raise LocalAwsError("moto didn't come up; its message is above.")
        return int(line)
