"""``c.Server`` and ``c.Hygiene`` of ``jupyter_keyless_config``: what a person may say about it."""

from __future__ import annotations

from traitlets import Bool, Enum, Integer, Set
from traitlets.config import Config, Configurable

from keyless_kernel.confine.config import section_from
from keyless_kernel.confine.settings import load_config

__all__ = ["OPENINGS", "Hygiene", "Server", "Settings"]

#: Ways by which a script in a notebook page could act as the person, and what each gives it.
OPENINGS = {
    "terminals": "a terminal is a shell of yours",
    "kernels": "kernels that aren't Keyless run without a sandbox",
    "extensions": "the extension manager installs packages",
    "language-servers": "a language server can be told which programs to start",
    "hidden-files": "hidden files hold settings that programs obey",
    "links": "links lead to files outside of the server's folder",
}


class Server(Configurable):
    """How a Jupyter server with Keyless kernels behaves."""

    leave_open = Set(
        Enum(tuple(OPENINGS)),
        help="What stays usable in this server although a script in a notebook could act as you by "
        f"it. Known: {', '.join(OPENINGS)}.",
    ).tag(config=True)


class Hygiene(Configurable):
    """What happens to secrets in notebooks when the server saves them."""

    on_save = Enum(
        ("redact", "refuse", "warn", "off"),
        default_value="redact",
        help="redact: they are taken out of what is written; refuse: it isn't saved; warn: it is, "
        "and you are told; off: nobody looks.",
    ).tag(config=True)
    fetch = Bool(
        False,
        help="Also fetch credentials that are kept elsewhere (a secrets manager, say) at each save "
        "to look for their values.",
    ).tag(config=True)
    timeout = Integer(30, min=1, max=60, help="Seconds that looking through one notebook may take.")
    timeout.tag(config=True)


class Settings:
    """Both sections, read once.

    Raises:
        ConfigError: a file or a value is wrong.
    """

    def __init__(self) -> None:
        self.config: Config = load_config()
        self.server = section_from(Server, self.config)
        self.hygiene = section_from(Hygiene, self.config)
