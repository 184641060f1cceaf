"""The kernel's own way to a network: for cells that speak to services with placeholders themselves.

There is one only where a person bound a credential to ``kernel``.  The launcher listens inside the
kernel's sandbox before any cell runs, and hands the listeners over; here they are served as a
tool's are.  What the kernel is told holds no secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
from collections.abc import Sequence

from keyless_kernel.confine import Confiner
from keyless_kernel.confine.settings import KernelNetwork
from keyless_sidecar.approvals import Scope
from keyless_sidecar.execution.delivery import CERTIFICATE_VARIABLES
from keyless_sidecar.execution.order import Gate, WayOut
from keyless_sidecar.execution.pipes import readable
from keyless_sidecar.placeholders import PlaceholderBook
from keyless_sidecar.policy import KERNEL
from keyless_sidecar.postgres.environment import client_environment
from keyless_sidecar.tools import Refused
from keyless_sidecar.vault import Entry, EntryInfo
from keyless_sidecar.ways import AWS_HOSTS, Ways

PROXY_PORT, DATABASE_PORT = 3128, 5432
#: Where the kernel finds the certificates that it is to trust.
CERTIFICATES = "/etc/keyless/certificates.pem"
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
#: What cells serve themselves, on their own loopback, is none of the proxy's business.
_DIRECT = dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1,::1,[::1]")
_log = logging.getLogger(__name__)


def bound_to_kernel(confiner: Confiner, infos: Sequence[EntryInfo]) -> list[EntryInfo]:
    """The entries that cells may use by themselves; none where the kernel has no network."""
    if not confiner.own_network:
        return []
    return [info for info in infos if info.allows(KERNEL) and info.delivery == "proxy"]


def told(
    entries: Sequence[Entry],
    book: PlaceholderBook,
    certificates: str,
    *,
    sessions: bool = False,
) -> KernelNetwork:
    """What the kernel gets to know: ports, placeholders, certificates.

    Args:
        entries: those bound to it, for their plain fields; at most one of a kind is in the
            usual variables.
        book: gives placeholders.
        certificates: PEM text.
        sessions: whether cells may have sessions, whose requests go by the proxy too.
    """
    if not entries and not sessions:
        return KernelNetwork()
    ports: list[int] = []
    variables: dict[str, str] = {}
    if sessions or any(entry.kind != "postgres" for entry in entries):
        ports.append(PROXY_PORT)
        variables |= dict.fromkeys(_PROXIES, f"http://127.0.0.1:{PROXY_PORT}")
        variables |= _DIRECT
        variables |= dict.fromkeys(CERTIFICATE_VARIABLES, CERTIFICATES)
    if sessions:
        variables["AWS_EC2_METADATA_DISABLED"] = "true"
    for entry in entries:
        if entry.kind == "aws" and "AWS_ACCESS_KEY_ID" not in variables:
            keys = book.for_entry(entry.info)
            variables["AWS_ACCESS_KEY_ID"] = keys.access_key_id
            variables["AWS_SECRET_ACCESS_KEY"] = keys.secret_access_key
            variables["AWS_EC2_METADATA_DISABLED"] = "true"
            if "region" in entry.fields:
                variables["AWS_DEFAULT_REGION"] = entry.fields["region"]
        elif entry.kind == "postgres" and DATABASE_PORT not in ports:
            ports.append(DATABASE_PORT)
            variables |= client_environment(entry.fields, DATABASE_PORT)
        elif entry.kind in ("token", "basic", "generic"):
            variables[variable_of(entry.name)] = book.token_for(entry.info)
    return KernelNetwork(ports, variables, {CERTIFICATES: certificates})


def variable_of(name: str) -> str:
    """The variable that holds an entry's placeholder: ``GITHUB_TOKEN`` for ``github-token``.

    Never one that programs know for something else, whatever the entry is called.
    """
    variable = re.sub(r"[^A-Z0-9]", "_", name.upper()).lstrip("0123456789")
    return variable if variable.endswith(("_TOKEN", "_KEY")) else f"{variable}_TOKEN"


class KernelGates:
    """Serves the kernel's listeners.  Owned by the event loop's thread.

    Args:
        ways: makes what serves them.
        entries: those bound to the kernel.
        ports: as told to the launcher, in order.
        model_path: folder of the service models; that of the AWS CLI, which are read already.
        sessions: whether cells may have sessions.
        scope: asks a person where the policy wants one.
    """

    def __init__(
        self,
        ways: Ways,
        entries: Sequence[EntryInfo],
        ports: Sequence[int],
        model_path: str = "",
        *,
        sessions: bool = False,
        scope: Scope | None = None,
    ) -> None:
        self._scope = scope
        self._ways = ways
        self._entries = entries
        self._ports = tuple(ports)
        self._model_path = model_path
        self._sessions = sessions
        self._gates: list[Gate] = []

    async def serve(self, descriptor: int) -> None:
        """Take the listeners over when the launcher has made them; returns when all are served.

        Args:
            descriptor: of the socket that they come over; it is closed here.
        """
        with socket.socket(fileno=descriptor) as channel:
            if not self._ports:
                return
            # In a thread, while the kernel starts: this reads the service models.
            ways_out = await asyncio.to_thread(lambda: [self._way_out(p) for p in self._ports])
            await readable(channel.fileno())
            _, descriptors, _, _ = socket.recv_fds(
                channel, 64, len(self._ports), socket.MSG_CMSG_CLOEXEC
            )
        listeners = [socket.socket(fileno=each) for each in descriptors]
        with contextlib.ExitStack() as unused:
            for listener in listeners:
                unused.callback(listener.close)
            if len(listeners) != len(self._ports) or not all(map(_listens, listeners)):
                return  # a kernel that ended before it was one
            unused.pop_all()
        for listener, way_out in zip(listeners, ways_out, strict=True):
            if way_out is None:
                listener.close()  # what connects is told at once, instead of never
                continue
            listener.setblocking(False)
            gate = way_out(listener, b"")
            self._gates.append(gate)
            await gate.start()

    async def close(self) -> None:
        """End all connections."""
        await asyncio.gather(*(gate.close() for gate in self._gates))

    def _way_out(self, port: int) -> WayOut | None:
        databases = [entry for entry in self._entries if entry.kind == "postgres"]
        others = [entry for entry in self._entries if entry.kind != "postgres"]
        try:
            if port == DATABASE_PORT:
                return self._ways.through_proxy(KERNEL, (), databases[:1], scope=self._scope)
            aws = self._sessions or any(entry.kind == "aws" for entry in others)
            hosts = AWS_HOSTS if aws else ()
            return self._ways.through_proxy(
                KERNEL,
                hosts,
                others,
                model_path=self._model_path,
                tunnels=False,
                scope=self._scope,
            )
        except Refused as refused:
            _log.warning("the kernel gets no way out by port %d: %s", port, refused.message)
            return None


def _listens(listener: socket.socket) -> bool:
    return bool(
        listener.family == socket.AF_INET
        and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    )
