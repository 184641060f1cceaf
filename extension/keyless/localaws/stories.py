"""The teaching notebooks, each with the configuration of the person whose kernel it runs in.

Used by ``lesson``, which runs one headless, and by ``lab``, which opens them all.  The first story,
of ``01-deploy-lambda``, has a stage of its own (``rehearsal``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from keyless.localaws import private_jupyter, station, three_patterns
from keyless.localaws.classroom import Classroom
from keyless.localaws.private_jupyter import PrivateJupyter

__all__ = ["STATION", "STATION_POLICY", "STORIES", "Story", "configure_all"]

Configure = Callable[[PrivateJupyter, Path, Classroom], None]

#: What is left to a person to allow, each time.
_DELETING = """\
@id("deleting")
@outcome("ask")
@reason("Deleting needs a second pair of eyes.")
permit (
  principal,
  action in [Action::"aws:lambda:DeleteFunction", Action::"aws:s3:DeleteObject"],
  resource
);
"""

#: Beside :data:`three_patterns.POLICY`.
_BUCKET = """\
@id("bucket")
permit (principal, action in Action::"aws:s3", resource)
when { context.exposure == "" };
"""

#: Rules for the weather station, as ``04-your-own-tool`` shows them.
STATION_POLICY = """\
@id("read-the-station")
permit (principal, action == Action::"http:GET", resource == Credential::"station");

@id("write-notes")
permit (principal, action == Action::"http:POST", resource == Credential::"station")
when { context.path == "/v1/notes" };
"""

#: Declaration of the station's tool but for its path, likewise.
STATION = {
    "delivery": "proxy",
    "secret_env": {"STATION_TOKEN": "token:value"},
    "description": "the weather station",
}


@dataclass(frozen=True)
class Story:
    """One notebook.

    Attributes:
        name: the notebook's, without its ending.
        about: one line for a list.
        configure: writes configuration, policy and vault of its person.
        needs: packages beyond those of the ``demo`` extra.
    """

    name: str
    about: str
    configure: Configure
    needs: tuple[str, ...] = ()

    @property
    def notebook(self) -> str:
        """The file's name."""
        return f"{self.name}.ipynb"


def _plain(jupyter: PrivateJupyter, workspace: Path, room: Classroom) -> None:
    jupyter.configure(workspace, room.aws.endpoint, policy=private_jupyter.POLICY + _DELETING)
    _deployer(jupyter, room)


def _patterns(jupyter: PrivateJupyter, workspace: Path, room: Classroom) -> None:
    three_patterns.configure(jupyter, workspace, room.aws)


def _game(jupyter: PrivateJupyter, workspace: Path, room: Classroom) -> None:
    policy = private_jupyter.POLICY + _DELETING
    jupyter.configure(workspace, room.aws.endpoint, policy=policy, more=_declare(_printenv()))
    _deployer(jupyter, room, "printenv")


def _station(jupyter: PrivateJupyter, workspace: Path, room: Classroom) -> None:
    jupyter.configure(
        workspace,
        room.aws.endpoint,
        policy=private_jupyter.POLICY + STATION_POLICY,
        more=_station_lines(room),
    )
    _token(jupyter, room)


def configure_all(jupyter: PrivateJupyter, room: Classroom, *, more: str = "") -> None:
    """Write a configuration in which every notebook runs, each in a workspace of its own.

    Args:
        jupyter: private folders.
        room: running.
        more: further lines of the configuration.
    """
    three_patterns.configure(
        jupyter,
        None,
        room.aws,
        policy=three_patterns.POLICY + _BUCKET + _DELETING + STATION_POLICY,
        more=_station_lines(room) + _declare(_printenv()) + more,
        tools=("printenv",),
    )
    _token(jupyter, room)


def _deployer(jupyter: PrivateJupyter, room: Classroom, *more_tools: str) -> None:
    key = (room.aws.access_key_id, room.aws.secret_access_key, room.aws.region)
    jupyter.store_aws_key(*key, name="deploy", tools=["aws", "sdk", *more_tools])


def _declare(tool: dict[str, object]) -> str:
    """A line of the configuration that declares one more tool; its name is that of its program."""
    name = Path(str(tool["path"])).name
    return f"c.Tools.declared = {{**c.Tools.get('declared', {{}}), {name!r}: {tool!r}}}\n"


def _station_lines(room: Classroom) -> str:
    upstream = f"c.Egress.upstreams[{station.HOST!r}] = {room.station.endpoint!r}\n"
    return _declare({"path": str(room.tool), **STATION}) + upstream


def _printenv() -> dict[str, object]:
    """The most careless tool there is."""
    return {
        "path": "/usr/bin/printenv",
        "delivery": "proxy",
        "secret_env": {"AWS_SECRET_ACCESS_KEY": "aws:secret_access_key"},
        "description": "prints its environment",
    }


def _token(jupyter: PrivateJupyter, room: Classroom) -> None:
    jupyter.store_token(room.station.token, name="station", tool="station", host=station.HOST)


STORIES = {
    story.name: story
    for story in (
        Story("00-tour", "what a cell can do, and what it can't", _plain),
        Story("02-three-patterns", "one deployment by each pattern", _patterns, ("matplotlib",)),
        Story("03-steal-the-key", "a game: try to get the key", _game),
        Story("04-your-own-tool", "a tool of your own, with a token by proxy", _station),
        Story("05-agents", "an agent's loop, in a kernel and around one", _plain),
    )
}
