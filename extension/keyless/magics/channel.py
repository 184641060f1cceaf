"""The kernel's end of the channel: one socket, one thread that writes, one that reads.

Callers only put things into queues and take things out of them, which no signal can tear apart: a
``KeyboardInterrupt`` never leaves half a frame on the wire or a lock held.  The writer thread
hands out the request ids, so they grow in the order in which the frames go out.

Used by :class:`keyless.magics.client.SidecarClient` alone.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import TypeAlias

from keyless.protocol.calls import CallFinished, Description, Piece, Progress
from keyless.protocol.errors import InvalidRequest, SidecarUnavailable
from keyless.protocol.frames import ProtocolError, encode, reply_reader
from keyless.protocol.messages import (
    PROTOCOL_VERSION,
    Failed,
    Finished,
    Hello,
    Output,
    Reply,
    Request,
    SessionClosed,
    SessionOpened,
    Started,
    Status,
    Waiting,
    Welcome,
)

__all__ = ["Channel", "Pending"]

_RECEIVE = 256 * 1024
_RESTART = "restart the kernel to get a new one"

Messages: TypeAlias = Callable[[int], Iterator[Request]]
FollowUp: TypeAlias = Callable[[], Iterator[Request]]
Answer: TypeAlias = (
    Started
    | Output
    | Waiting
    | Finished
    | Failed
    | Status
    | Piece
    | Progress
    | CallFinished
    | Description
    | SessionOpened
    | SessionClosed
)
#: What ends a request.
_LAST = (Finished, Failed, Status, CallFinished, Description, SessionOpened, SessionClosed)


class Pending:
    """One request on its way: what it sends, and the queue of its answers.

    Made by a caller; ``id`` is set by the writer thread (0 until then).
    """

    def __init__(self, messages: Messages) -> None:
        self.messages = messages
        self.id = 0
        self._answers: SimpleQueue[Answer | Exception] = SimpleQueue()

    def deliver(self, answer: Answer | Exception) -> None:
        """Hand an answer, or the reason why there is none, to the caller."""
        self._answers.put(answer)

    def next(self, timeout: float | None = None) -> Answer:
        """The next answer; waits, and can be interrupted.

        Args:
            timeout: seconds; ``None`` waits for as long as it takes.

        Raises:
            TimeoutError: nothing came in time.
            SidecarUnavailable: the channel broke.
            InvalidRequest: the request could not be sent.
        """
        try:
            answer = self._answers.get(timeout=timeout)
        except Empty:
            raise TimeoutError from None
        if isinstance(answer, Exception):
            raise answer
        return answer


class Channel:
    """Owns the socket and both threads.  Every method may be called from any thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._pid = os.getpid()
        self._outgoing: SimpleQueue[Pending | FollowUp | None] = SimpleQueue()
        # Only the two threads take this lock, never a caller: callers can be interrupted.
        self._lock = threading.Lock()
        self._pending: dict[int, Pending] = {}
        self._last_id = 0
        self._broken = ""
        self._closed = False
        self.welcome: Welcome | None = None
        self._threads = [
            threading.Thread(target=target, name=f"keyless-{name}", daemon=True)
            for name, target in (("writer", self._write), ("reader", self._read))
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, pending: Pending) -> None:
        """Send a request; its answers arrive at ``pending``.

        Raises:
            SidecarUnavailable: in a forked child, which must not touch the connection.
        """
        if os.getpid() != self._pid:
            raise SidecarUnavailable(
                "a forked child process can't use the sidecar; ask from the kernel's own process"
            )
        if self._closed:
            raise self._unavailable()
        self._outgoing.put(pending)

    def follow_up(self, pending: Pending, message: Callable[[int], Request]) -> None:
        """Send one more message about a request that was submitted before."""

        def messages() -> Iterator[Request]:
            if pending.id:
                yield message(pending.id)

        if os.getpid() == self._pid:
            self._outgoing.put(messages)

    def forget(self, pending: Pending) -> None:
        """Drop whatever still arrives for a request."""
        self._pending.pop(pending.id, None)

    def close(self) -> None:
        """Close the connection and end both threads; requests under way fail."""
        self._closed = True
        self._break("this client was closed")
        self._outgoing.put(None)
        for thread in self._threads:
            thread.join()
        self._socket.close()

    # ------------------------------------------------------------------ the writer thread

    def _write(self) -> None:
        try:
            self._socket.sendall(encode(Hello(version=PROTOCOL_VERSION)))
            while (item := self._outgoing.get()) is not None:
                if isinstance(item, Pending):
                    self._begin(item)
                else:
                    for message in item():
                        self._socket.sendall(encode(message))
        except OSError as error:
            self._break(f"the connection to the sidecar is lost ({error.strerror})")
            self._refuse_the_rest()

    def _begin(self, pending: Pending) -> None:
        with self._lock:
            if self._broken:
                pending.deliver(self._unavailable())
                return
            self._last_id += 1
            pending.id = self._last_id
            self._pending[pending.id] = pending
        try:
            for message in pending.messages(pending.id):
                self._socket.sendall(encode(message))
        except (ProtocolError, TypeError, ValueError, OverflowError) as error:
            # Nothing has gone out: encoding comes before sending.  So nothing may follow either.
            self.forget(pending)
            pending.id = 0
            pending.deliver(InvalidRequest(f"the request can't be sent: {error}"))

    def _refuse_the_rest(self) -> None:
        """Answer all who still ask, so that nobody waits for a thread that is gone."""
        while (item := self._outgoing.get()) is not None:
            if isinstance(item, Pending):
                item.deliver(self._unavailable())

    # ------------------------------------------------------------------ the reader thread

    def _read(self) -> None:
        reader = reply_reader()
        try:
            while data := self._socket.recv(_RECEIVE):
                for reply in reader.feed(data):
                    self._dispatch(reply)
            self._break("the sidecar has ended")
        except OSError as error:
            self._break(f"the connection to the sidecar is lost ({error.strerror})")
        except ProtocolError as error:
            self._break(f"the sidecar sent what this kernel doesn't understand ({error})")

    def _dispatch(self, reply: Reply) -> None:
        if isinstance(reply, Welcome):
            if self.welcome is not None or reply.version != PROTOCOL_VERSION:
                raise ProtocolError(f"a welcome for protocol version {reply.version}")
            self.welcome = reply
            return
        if self.welcome is None or not 0 < reply.id <= self._last_id:
            raise ProtocolError("an answer that nobody asked for")
        pending = self._pending.get(reply.id)
        if pending is None:
            return  # its caller has given up
        if isinstance(reply, _LAST):
            self.forget(pending)
        pending.deliver(reply)

    # ------------------------------------------------------------------ the end

    def _break(self, reason: str) -> None:
        with self._lock:
            self._broken = self._broken or reason
            waiting = list(self._pending.values())
            self._pending.clear()
        with contextlib.suppress(OSError):  # the peer may have been faster
            self._socket.shutdown(socket.SHUT_RDWR)
        for pending in waiting:
            pending.deliver(self._unavailable())

    def _unavailable(self) -> SidecarUnavailable:
        return SidecarUnavailable(f"{self._broken}; {_RESTART}")
