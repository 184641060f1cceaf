"""``%secure_session``: temporary keys in a variable, where a person allows them."""

from __future__ import annotations

from typing import Any

from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand

from keyless.magics.outs import variable
from keyless.magics.running import recorded
from keyless.magics.session_api import SecureSession, secure_session
from keyless.magics.words import split_words
from keyless.protocol.errors import InvalidRequest

__all__ = ["SessionMagics"]

_OPTIONS = ("--minutes", "--operations", "--policy", "--out")
_USAGE = (
    "%secure_session NAME [--minutes N] [--operations A,B | --policy VARIABLE] [--out VARIABLE]"
)


@magics_class
class SessionMagics(Magics):
    """The magic that opens sessions.  One per shell; called on its main thread."""

    shell: Any

    @line_magic
    @no_var_expand
    def secure_session(self, line: str) -> SecureSession:
        """Get temporary keys of a credential that a person turned this on for.

        ::

            %secure_session deploy --operations lambda:UpdateFunctionCode
            session = %secure_session deploy
            session.boto3().client("lambda")...
            session.close()

        Options: --minutes N (15 to 720, default 15), --operations NAMES (service:Operation,
        separated by commas), --policy VARIABLE (an IAM policy in a variable), --out VARIABLE (put
        the session there), --export (set the keys in the environment until it is closed).

        Without operations and policy it is for what the last commands did with the credential.
        """
        with recorded("session"):
            name, given, export = _parse(line)
            session = secure_session(
                name,
                minutes=_minutes(given.get("--minutes", "15")),
                operations=given.get("--operations"),
                policy=self._variable(given["--policy"]) if "--policy" in given else None,
            )
        if export:
            session.export()
        if "--out" in given:
            self.shell.user_ns[given["--out"]] = session
        return session

    def _variable(self, name: str) -> Any:
        try:
            return self.shell.user_ns[name]
        except KeyError:
            raise InvalidRequest(f"there is no variable {name!r} for --policy") from None


def _parse(line: str) -> tuple[str, dict[str, str], bool]:
    """The credential's name, options with their values, and whether to export."""
    names: list[str] = []
    given: dict[str, str] = {}
    export = False
    words = iter(split_words(line))
    for word in words:
        option, equals, value = word.partition("=")
        if word == "--export":
            export = True
        elif option in _OPTIONS:
            given[option] = value if equals else next(words, "")
            if not given[option]:
                raise InvalidRequest(f"{option} needs a value: {_USAGE}")
        elif word.startswith("-"):
            raise InvalidRequest(
                f"no such option {option!r}; there are {', '.join(_OPTIONS)}, --export"
            )
        else:
            names.append(word)
    if len(names) != 1:
        raise InvalidRequest(f"name one credential: {_USAGE}")
    for option in ("--policy", "--out"):
        if option in given:
            variable(option, given[option])
    return names[0], given, export


def _minutes(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidRequest(f"--minutes takes a number, such as 15, not {text!r}") from None
