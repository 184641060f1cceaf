"""``/keyless/api/…``: looking, never deciding.  There are only GETs.

Whoever may use the Jupyter server may look.  That includes scripts in a notebook page, so nothing
here is a secret, and nothing here can be used to answer a question.
"""

from __future__ import annotations

import json
from typing import Any

from jupyter_core.paths import jupyter_runtime_dir
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from keyless.control_client import ControlError, ControlUnavailable
from keyless.server.kernels import Kernels, NoSuchKernel
from keyless.server.page import COMMAND, page_address
from keyless.server.saves import Saves

__all__ = ["routes"]

_KERNEL = r"([0-9a-fA-F-]{1,64})"
_RECORDS, _MOST_RECORDS = 200, 1000


class _Looking(APIHandler):
    auth_resource = "keyless"

    def initialize(self, **given: Any) -> None:
        self.given = given

    def answer(self, value: dict[str, Any]) -> None:
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(value))


class _Overview(_Looking):
    """All kernels, where questions are answered, what this server leaves open."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        kernels: Kernels = self.given["kernels"]
        self.answer(
            {
                "kernels": await kernels.overview(),
                "page": {"url": page_address(jupyter_runtime_dir()), "command": COMMAND},
                "openings": self.given["openings"](),
            }
        )


class _Records(_Looking):
    """What one kernel did."""

    @web.authenticated
    @authorized
    async def get(self, identity: str) -> None:
        limit = self.get_query_argument("limit", str(_RECORDS))
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit) <= _MOST_RECORDS:
            raise web.HTTPError(400, f"limit is a number from 1 to {_MOST_RECORDS}")
        kernels: Kernels = self.given["kernels"]
        try:
            self.answer({"records": await kernels.records(identity, int(limit))})
        except NoSuchKernel:
            raise web.HTTPError(404, "There is no such Keyless kernel here.") from None
        except (ControlUnavailable, ControlError, TimeoutError):
            raise web.HTTPError(503, "The kernel's sidecar doesn't answer.") from None


class _Saves(_Looking):
    """What was found in a notebook when it was last saved."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        saves: Saves = self.given["saves"]
        self.answer(saves.of(self.get_query_argument("path")))


def routes(base_url: str, given: dict[str, Any]) -> list[tuple[str, type[APIHandler], Any]]:
    """Addresses and who answers at them.

    Args:
        base_url: of the server.
        given: ``kernels``, ``saves``, and ``openings`` (a function).
    """
    api = url_path_join(base_url, "keyless", "api")
    return [
        (url_path_join(api, "kernels"), _Overview, given),
        (url_path_join(api, "kernels", _KERNEL, "audit"), _Records, given),
        (url_path_join(api, "saves"), _Saves, given),
    ]
