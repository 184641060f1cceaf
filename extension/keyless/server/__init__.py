"""The Jupyter server's part: shows what kernels do, keeps notebooks clean, decides nothing.

Loaded by ``jupyter_server`` (:func:`_jupyter_server_extension_points`).  It has no route that
answers a question, holds no token of the approval page, and doesn't count as somebody who could be
asked.
"""

from __future__ import annotations

from typing import Any

__all__: list[str] = []


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "keyless.server"}]


def _link_jupyter_server_extension(app: Any) -> None:
    """Called before the server makes its parts."""
    from keyless.server.starting import prepare

    prepare(app)


def _load_jupyter_server_extension(app: Any) -> None:
    """Called when they are made."""
    from keyless.server.starting import start

    start(app)
