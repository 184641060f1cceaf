"""Puts the extension into a Jupyter server that starts, or ends that server.

An extension that fails is only a line in the server's log, and the server would run without what
Keyless promises: so whatever goes wrong here ends the server, with a sentence.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from keyless.cli.privileged import vault_folder
from keyless.server.closing import close, open_ways, put
from keyless.server.contents import GUARDED, guarded
from keyless.server.files import private_folders, why_unreachable
from keyless.server.handlers import routes
from keyless.server.hygiene import Cleaner
from keyless.server.kernels import Kernels
from keyless.server.saves import Saves
from keyless.server.settings import OPENINGS, Settings
from keyless_kernel.confine import ConfigError
from keyless_kernel.supervising import NURSERY

__all__ = ["prepare", "start"]

_KEY = "keyless"


def _or_end(step: Callable[[Any], None]) -> Callable[[Any], None]:
    @functools.wraps(step)
    def wrapped(app: Any) -> None:
        try:
            step(app)
        except ConfigError as error:
            raise SystemExit(f"Keyless: {error}") from None
        except Exception as error:
            raise SystemExit(
                f"Keyless can't protect this server, so it doesn't start: {error!r}"
            ) from error

    return wrapped


@_or_end
def prepare(app: Any) -> None:
    """Close what is to be closed, before the server makes its parts.

    Args:
        app: the ``ServerApp``.

    Raises:
        SystemExit: something is wrong.
    """
    settings, saves = Settings(), Saves()
    leave_open = settings.server.leave_open
    close(app, leave_open)
    audit = settings.config.get("Audit", {}).get("folder", "")
    check = functools.partial(
        _check,
        private_folders([str(vault_folder(settings.config)), str(audit)]),
        leave_open,
    )
    cleaner = Cleaner(settings.hygiene, settings.config, saves, app.log)
    put(app, "contents_manager_class", guarded(app.contents_manager_class, check, cleaner))
    app.tornado_settings[_KEY] = (saves, leave_open)


@_or_end
def start(app: Any) -> None:
    """Add the routes.

    Args:
        app: the ``ServerApp``.

    Raises:
        SystemExit: something is wrong.
    """
    saves, leave_open = app.tornado_settings[_KEY]
    ways = functools.partial(open_ways, app, leave_open)
    given = {"kernels": Kernels(app.kernel_manager), "saves": saves, "openings": ways}
    app.web_app.add_handlers(".*$", routes(app.web_app.settings["base_url"], given))
    unwanted = sorted(set(ways()) - leave_open)
    if unwanted:
        raise ConfigError(f"this server can't close {', '.join(unwanted)} (c.Server.leave_open)")
    if not hasattr(app.contents_manager, GUARDED):
        raise ConfigError("another contents manager took the place of the one that saves clean")
    app.log.info(
        "Keyless: closed to scripts in notebooks: %s (c.Server.leave_open opens them)",
        ", ".join(sorted(set(OPENINGS) - set(ways()))) or "nothing",
    )
    NURSERY.prepare()  # it loads while the person opens a notebook


def _check(private: Any, leave_open: set[str], path: str, root: str) -> str:
    return why_unreachable(
        path, root, private, links="links" in leave_open, hidden="hidden-files" in leave_open
    )
