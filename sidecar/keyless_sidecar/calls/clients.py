"""botocore's clients for calls: with placeholders, and without any way out but a call's bridge.

Nothing is read from the environment or from configuration files.  A client holds nothing secret,
so it is kept for the next call of the same service and region.
"""

from __future__ import annotations

import contextvars
import threading
from collections import OrderedDict
from typing import Any, NoReturn

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.session import Session

from keyless_sidecar.calls.bridge import Bridge
from keyless_sidecar.egress.aws.catalog import catalog
from keyless_sidecar.placeholders import AwsKeys

__all__ = ["Clients", "crossing"]

_MOST = 16
_NOWHERE = "/nonexistent"

#: The bridge of the call that this thread makes.
crossing: contextvars.ContextVar[Bridge] = contextvars.ContextVar("crossing")


class Clients:
    """Makes and keeps clients.  May be used in any thread."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._kept: OrderedDict[tuple[str, str, str], Any] = OrderedDict()
        self._session: Session | None = None

    def get(self, service: str, region: str, keys: AwsKeys) -> Any:
        """A client.

        Args:
            service: name of its model.
            region: empty where none is known.
            keys: the placeholder.

        Raises:
            botocore.exceptions.BotoCoreError: there is none for the service in that region.
        """
        name = (service, region, keys.access_key_id)
        with self._turn:  # botocore's sessions are not made for several threads
            client = self._kept.pop(name, None) or self._make(service, region, keys)
            self._kept[name] = client
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        return client

    def _make(self, service: str, region: str, keys: AwsKeys) -> Any:
        if self._session is None:
            self._session = _session()
        client = self._session.create_client(
            service,
            region_name=region or None,
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
        )
        client.meta.events.register("before-send", _send)
        client._endpoint.http_session.close()
        client._endpoint.http_session = _NoNetwork()
        return client


def _session() -> Session:
    session = Session()
    session.register_component("data_loader", catalog().loader)
    for variable in ("config_file", "credentials_file"):
        session.set_config_variable(variable, _NOWHERE)
    session.set_default_client_config(
        Config(
            retries={"total_max_attempts": 3, "mode": "standard"},
            ignore_configured_endpoint_urls=True,
            user_agent_extra="keyless",
        )
    )
    return session


def _send(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
    """botocore's hook before it would send."""
    return crossing.get().send(request)


class _NoNetwork:
    """In place of botocore's HTTP client, should it ever get to that."""

    def send(self, _: Any) -> NoReturn:
        """Refuse."""
        raise RuntimeError("botocore has no network here")

    def close(self) -> None:
        """Nothing is open."""
