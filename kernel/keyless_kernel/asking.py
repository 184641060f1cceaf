"""Asks the front end for a line without waiting for it.

``input()`` blocks until the person answers.  A command on a terminal prints and ends meanwhile, so
:mod:`keyless.magics.interactive` asks here and looks for the answer now and then.  The messages are
those of ``input()``: every front end that knows one knows the other.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import zmq
from ipykernel.ipkernel import IPythonKernel
from jupyter_client.session import Session


class AskingKernel(IPythonKernel):
    """A kernel whose cells can ask in the background.  Use it in the main thread only."""

    def can_ask(self) -> bool:
        """Whether the front end that runs this cell takes questions."""
        return bool(self._allow_stdin)

    def ask(self, prompt: str, password: bool) -> None:
        """Open the input box.  An answer to an earlier question is dropped.

        Args:
            prompt: stands before the box.
            password: whether the front end hides what is typed.
        """
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        with contextlib.suppress(zmq.Again):
            while True:
                self.stdin_socket.recv_multipart(zmq.NOBLOCK)
        self._session().send(
            self.stdin_socket,
            "input_request",
            {"prompt": prompt, "password": password},
            self.get_parent("shell"),  # type: ignore[no-untyped-call]
            ident=self._parent_ident["shell"],
        )

    def answer(self) -> str | None:
        """What was typed, or ``None`` as long as there is nothing."""
        try:
            _, reply = self._session().recv(self.stdin_socket)
        except ValueError:  # not signed, or none of the protocol's messages
            self.log.warning("An answer that makes no sense", exc_info=True)
            return None
        if reply is None:
            return None
        content: dict[str, Any] = reply["content"]
        return str(content.get("value", ""))

    def _session(self) -> Session:
        if self.session is None:
            raise RuntimeError("this kernel has no connection")
        return self.session


__all__ = ["AskingKernel"]
