"""No secret is saved in a notebook: what a front end saves goes through the scrubber first.

The values are known to the privileged half alone, so it looks, in a process of its own
(``keyless_sidecar scrub``).  Where it can't look, nothing is saved that setting says to keep clean.
"""

from __future__ import annotations

import json
import logging
import subprocess
from typing import Any

from tornado import web
from traitlets.config import Config

from keyless.cli import privileged
from keyless.server.saves import Saves
from keyless.server.settings import Hygiene
from keyless_kernel.passphrase import PassphraseUnreadable, passphrase_from_descriptor

__all__ = ["Cleaner"]

_SUFFIX = ".ipynb"
#: Places that a message names.
_MOST_NAMED = 10


class _CantLook(Exception):
    """Nobody can say what is in the notebook; the message says why."""


class Cleaner:
    """Looks through what is saved.

    Args:
        settings: what to do with what is found.
        config: says where the vault is.
        saves: remembers what was found.
        log: the server's.
    """

    def __init__(
        self, settings: Hygiene, config: Config, saves: Saves, log: logging.Logger
    ) -> None:
        self._settings = settings
        self._config = config
        self._saves = saves
        self._log = log

    def wanted(self, model: dict[str, Any], path: str) -> bool:
        """Whether a model that is to be saved is a notebook that must be looked through."""
        if self._settings.on_save == "off" or model.get("content") is None:
            return False
        return model.get("type") == "notebook" or self._is_text(model, path)

    def clean(self, model: dict[str, Any], path: str) -> dict[str, Any]:
        """What may be saved in the place of a model.  Blocks: takes about half a second.

        Args:
            model: of a notebook, or of a notebook's file as text; it isn't changed.
            path: where it is to be saved.

        Raises:
            tornado.web.HTTPError: 400, it may not be saved; the message says why, and where.
        """
        text = self._is_text(model, path)
        try:
            content = json.loads(model["content"]) if text else model["content"]
        except ValueError:  # no notebook, whatever its name says
            return model
        try:
            found, cleaned = self._look(content)
            if found and self._settings.on_save == "redact" and self._look(cleaned)[0]:
                # What was put together from two texts, say.
                self._saves.keep(path, found, "refused")
                raise _refused(f"It holds {_places(found)}, which can't be taken out by itself")
        except _CantLook as error:
            self._saves.keep(path, [], "unknown")
            self._log.warning("Keyless: %s: %s", path, error)
            if self._settings.on_save == "warn":
                return model
            raise _refused(f"Nobody can say whether it holds a secret: {error}") from None
        return self._decided(model, path, found, json.dumps(cleaned) if text else cleaned)

    # ------------------------------------------------------------------ inside

    def _decided(
        self, model: dict[str, Any], path: str, found: list[dict[str, Any]], cleaned: Any
    ) -> dict[str, Any]:
        if not found:
            self._saves.keep(path, [], "clean")
            return model
        done = {"redact": "redacted", "refuse": "refused"}.get(self._settings.on_save, "saved")
        self._saves.keep(path, found, done)
        self._log.warning("Keyless: %s holds %s: %s", path, _places(found), done)
        if done == "refused":
            raise _refused(f"It holds {_places(found)}")
        return model if done == "saved" else {**model, "content": cleaned}

    def _look(self, notebook: Any) -> tuple[list[dict[str, Any]], Any]:
        arguments = ["--stdin"] if self._settings.fetch else ["--stdin", "--kept-only"]
        try:
            answer = privileged.ask(
                "scrub",
                arguments,
                self._config,
                stdin=json.dumps(notebook),
                passphrase=passphrase_from_descriptor(),
                timeout=self._settings.timeout,
            )
        except PassphraseUnreadable as error:
            raise _CantLook(str(error)) from None
        except subprocess.TimeoutExpired:
            raise _CantLook(f"it took more than {self._settings.timeout} s") from None
        try:
            said = json.loads(answer.stdout)
            return list(said["found"]), said["notebook"]
        except (ValueError, KeyError, TypeError):
            lines = answer.stderr.strip().splitlines() or ["the scrubber failed"]
            raise _CantLook(lines[-1].removeprefix("jupyter keyless scrub: ")[:400]) from None

    def _is_text(self, model: dict[str, Any], path: str) -> bool:
        """Whether it is a notebook that somebody saves as plain text (uploads do)."""
        return (
            model.get("type") == "file"
            and model.get("format") == "text"
            and model.get("chunk") is None
            and path.lower().endswith(_SUFFIX)
        )


def _refused(why: str) -> web.HTTPError:
    text = f"Not saved. {why}. c.Hygiene.on_save says what happens then."
    return web.HTTPError(400, text, reason="Not saved: it may hold a secret")


def _places(found: list[dict[str, Any]]) -> str:
    named = [f"{each['name']} ({_place(each)})" for each in found[:_MOST_NAMED]]
    if len(found) > _MOST_NAMED:
        named.append(f"{len(found) - _MOST_NAMED} more")
    # A place may quote names out of the notebook, and this goes to logs.
    return "".join(char if char.isprintable() else "?" for char in ", ".join(named))


def _place(found: dict[str, Any]) -> str:
    cell = f"cell {found['cell']}, " if found["cell"] else ""
    line = f", line {found['line']}" if found["line"] else ""
    return f"{cell}{found['part']}{line}"
