"""The teaching notebooks: each runs, and shows what its text says that it shows.

One local AWS for all of them; each has the Jupyter folders of its own person.  The first one,
``01-deploy-lambda``, is run by ``test_localaws_demo``.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image
from tests.support.hunt import Hunter

from keyless.localaws import headless, hosted, station
from keyless.localaws.classroom import Classroom, classroom
from keyless.localaws.front import LoggedCall
from keyless.localaws.lab import place_notebooks
from keyless.localaws.private_jupyter import private_jupyter
from keyless.localaws.stories import STATION, STATION_POLICY, STORIES
from keyless.localaws.three_patterns import ROLE

FOLDER = Path(__file__).parents[2] / "notebooks"
ALL = sorted(path.name for path in FOLDER.glob("*.ipynb"))


@pytest.fixture(scope="module")
def room() -> Iterator[Classroom]:
    with classroom() as running:
        yield running


@dataclass
class Played:
    """A notebook after its run, and what reached AWS meanwhile."""

    notebook: NotebookNode
    calls: list[LoggedCall]
    said_outside: str

    def printed(self, step: str) -> str:
        """What the cell of a step printed."""
        return "".join(o.text for o in self._outputs(step) if o.output_type == "stream")

    def shown(self, step: str, kind: str) -> str:
        """The last output of a kind, of the cell of a step."""
        return str([o.data[kind] for o in self._outputs(step) if kind in o.get("data", {})][-1])

    def _outputs(self, step: str) -> list[NotebookNode]:
        (cell,) = [c for c in code(self.notebook) if c.metadata.keyless.step == step]
        return list(cell.outputs)


def read(name: str) -> NotebookNode:
    notebook: NotebookNode = nbformat.read(FOLDER / name, 4)  # type: ignore[no-untyped-call]
    return notebook


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def play(name: str, room: Classroom, *more: str) -> Played:
    """Run a notebook as its person, with cells more at its end, and its program outside."""
    story = STORIES[name]
    notebook, before = read(story.notebook), len(room.aws.requests)
    program = hosted.program(notebook)
    notebook.cells += [
        nbformat.v4.new_code_cell(source, metadata={"keyless": {"step": f"more {number}"}})  # type: ignore[no-untyped-call]
        for number, source in enumerate(more)
    ]
    with tempfile.TemporaryDirectory(prefix="kl-") as folder, private_jupyter() as jupyter:
        Path(folder).chmod(0o755)
        story.configure(jupyter, Path(folder) / "workspace", room)
        NotebookClient(notebook, timeout=60, coalesce_streams=True).execute()
        said = hosted.run(program, 60) if program else ""
        jupyter.verify_audit()
    return Played(notebook, list(room.aws.requests[before:]), said)


def without_secrets(room: Classroom, cells: list[NotebookNode]) -> None:
    """Neither key nor token is in what cells show, in any form."""
    hunter = Hunter({"key": room.aws.secret_access_key, "token": room.station.token})
    assert hunter.data(json.dumps(cells).encode(), "notebook") == []


@pytest.mark.parametrize("name", ALL)
def test_a_notebook_is_stored_clean(name: str) -> None:
    source = json.loads((FOLDER / name).read_text())
    assert source["metadata"]["kernelspec"] == {
        "display_name": "Python 3 (Keyless)",
        "language": "python",
        "name": "keyless",
    }
    for number, cell in enumerate(source["cells"], 1):
        assert cell["id"] in {f"md-{number:02}", f"code-{number:02}"}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            assert cell["metadata"]["keyless"]["step"]


def test_every_notebook_is_shipped_and_told_of(tmp_path: Path) -> None:
    place_notebooks(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ALL
    readme, wheel = (FOLDER / "README.md").read_text(), Path("pyproject.toml").read_text()
    assert all(name in readme and f'"notebooks/{name}"' in wheel for name in ALL)
    (tmp_path / ALL[0]).write_text("a person's own")
    place_notebooks(tmp_path)
    assert (tmp_path / ALL[0]).read_text() == "a person's own"


def test_the_tour_acts_asks_and_is_refused(room: Classroom) -> None:
    seen = play("00-tour", room)
    around = seen.printed("Look around")
    assert "network: Network is unreachable" in around
    assert "~/.aws: not there" in around
    assert room.aws.user_arn in seen.printed("Who am I?")
    assert room.aws.user_arn in seen.printed("The same in Python")
    assert "('hello.txt', 37)" in seen.shown("Call without a tool", "text/plain")
    refused = re.findall(r"^   (\w+):$", seen.printed("Three refusals"), re.MULTILINE)
    assert refused == ["PolicyDenied", "PolicyDenied", "InvalidRequest"]
    assert "Deleting needs a second pair of eyes." in seen.shown("Why?", "text/plain")
    assert seen.shown("The picture", "image/svg+xml").count("did not run") == 3
    # What was refused never got to AWS.
    assert {c.operation for c in seen.calls} <= {"GetCallerIdentity", "PutObject", "ListObjectsV2"}
    without_secrets(room, seen.notebook.cells)


def test_every_pattern_deploys_and_says_what_it_exposed(room: Classroom) -> None:
    seen = play("02-three-patterns", room)
    updates = [c for c in seen.calls if c.operation == "UpdateFunctionCode" and c.status == 200]
    users = [call.principal for call in updates]
    assert [f":assumed-role/{ROLE}/" in user for user in users] == [False, True, False, False]
    assert {user for user in users if "assumed-role" not in user} == {room.aws.user_arn}
    rows = seen.shown("The table", "text/markdown").splitlines()[2:]
    words = [[word.strip() for word in row.strip("|").split("|")] for row in rows]
    assert [row[3] for row in words] == ["-", "the cell", "the tool", "-"]
    assert [row[4] == "never" for row in words] == [True, False, False, True]
    picture = base64.b64decode(seen.shown("The plot", "image/png"))
    assert Image.open(io.BytesIO(picture)).size[0] > 400
    # That the session's key was shown only in part is the cell's doing.
    without_secrets(room, seen.notebook.cells)
    assert "revoked" in seen.printed("Pattern 2 deploys").lower()


#: Each attempt of the game, and the sentence that says why it got nothing.
WHY = {
    "every environment": "bytes read",
    "files": "files",
    "the metadata service": "Network is unreachable",
    "export the credentials": "aws configure is not allowed",
    "print what it sends": "it prints signed requests",
    "a new key": "No rule of the policy allows it",
    "a session's key": "No rule of the policy allows it",
    "a signed address": "it prints a link that works for everybody who has it",
    "a shell's words": "there is no shell",
    "a server of ours": "The option --endpoint-url is not allowed",
    "its environment, as a file": "is outside the workspace",
    "planted settings and code": 'None of it ran; the tool answered "123456789012"',
    "a tool that prints its key": "keyless",
    "the sidecar's memory": "No sidecar among the 2 processes in sight",
    "the control socket": "No control socket in sight",
    "a temporary key": "Sessions are off for the credential deploy",
    "my move": "aws configure is not allowed",
}


def test_nobody_steals_the_key_and_a_thief_would_be_seen(room: Classroom) -> None:
    backwards = room.aws.secret_access_key[::-1].encode().hex()
    score = code(read("03-steal-the-key.ipynb"))[-1].source
    seen = play(
        "03-steal-the-key",
        room,
        "STOPS |= {'guessed': 4}; attempt(1, 'guessed', lambda: 'no', guess=4)\n"
        f"attempt(5, 'told', lambda: bytes.fromhex('{backwards}'))",
        score,
    )
    played = seen.notebook.cells[:-2]
    practice = seen.printed("Practice: a careless program")
    assert practice.endswith("{'environment': True, 'file': True}\n")
    tried = headless.attempts(nbformat.v4.new_notebook(cells=played))  # type: ignore[no-untyped-call]
    assert {attempt.name for attempt in tried} == set(WHY)
    for attempt in tried:
        assert attempt.keys == 0
        assert WHY[attempt.name] in attempt.got
    assert "Thieves' points: 0 of 500 in 17 attempts" in seen.printed("The score")
    assert "The flag is where it was." in seen.printed("The score")
    assert "Guards' points:  0 of 80" in seen.printed("The score")
    assert seen.shown("The score", "image/svg+xml").count(">wall ") == 16
    without_secrets(room, played)
    assert {call.operation for call in seen.calls} <= {
        "GetObject",
        "HeadObject",
        "GetCallerIdentity",
    }
    # The referee knows the flag when somebody has it, and a right guess counts.
    assert "Stopped by wall 4, the placeholder. You knew it!" in seen.printed("more 0")
    assert "[attempt] told → 1 keys" in seen.printed("more 0")
    assert "Thieves' points: 100 of 610" in seen.printed("more 1")
    assert "Guards' points:  5 of 85" in seen.printed("more 1")
    assert "The flag is stolen!" in seen.printed("more 1")


def test_a_tool_of_ones_own_never_holds_the_token(room: Classroom) -> None:
    seen = play("04-your-own-tool", room)
    text = "\n".join(c.source for c in seen.notebook.cells if c.cell_type == "markdown")
    # What the notebook says that the person wrote is what is in force.
    assert STATION_POLICY in text
    assert station.TOOL in text
    shown = re.search(r"c\.Tools\.declared = (\{.+?^\})", text, re.MULTILINE | re.DOTALL)
    assert shown
    declared = ast.literal_eval(shown[1])["station"]
    assert {name: value for name, value in declared.items() if name != "path"} == STATION
    # It works, within the policy.
    assert json.loads(seen.printed("Read")) == room.station.readings
    assert seen.shown("Draw", "image/svg+xml").count("<circle") == len(room.station.readings)
    assert room.station.notes == ["Frost is near: cover the lemons"]
    assert "No rule of the policy allows it" in seen.printed("A request that no rule allows")
    assert {(method, real) for method, _, real in room.station.seen} == {
        ("GET", True),
        ("POST", True),
    }
    # The token is where it was.
    assert seen.printed("The tool prints what it holds").endswith("\na placeholder\n")
    assert seen.printed("The station sends it back").endswith("\nthe placeholder again\n")
    elsewhere = seen.printed("Elsewhere")
    assert "the tool still asks the station: True" in elsewhere
    assert "the cell itself, with the placeholder: [Errno" in elsewhere
    without_secrets(room, seen.notebook.cells)


def test_the_agents_loop_inside_and_outside(room: Classroom) -> None:
    seen = play("05-agents", room)
    inside = re.findall(r"^ +→ (.+)$", seen.printed("The loop in this kernel"), re.MULTILINE)
    outside = re.findall(r"^ +→ (.+)$", seen.said_outside, re.MULTILINE)
    assert len(inside) == len(outside) == 7
    for answers in (inside, outside):
        assert answers[1:3] == ["hi", "packed"]
        assert '"FunctionName": "made-' in answers[3]
        assert answers[4] == "no key here"
        assert answers[5].startswith("PolicyDenied: No rule of the policy allows it.")
    # What the policy asks: nobody is there for a cell; the program outside is asked, and says no.
    assert inside[6].startswith("PolicyDenied: Deleting needs a second pair of eyes.")
    assert seen.said_outside.count("ASKED: lambda delete-function") == 1
    assert outside[6].startswith("PolicyDenied: A person denied it")
    assert "deployed, honestly" in seen.printed("A liar's hands")
    assert "SandboxError: the kernel doesn't start" in seen.printed("In a cell it refuses")
    assert seen.shown("The picture", "image/svg+xml").count(">refused<") == 2
    # AWS saw the two deployments, and nothing of what was refused, or of what was only said.
    done = [c.operation for c in seen.calls if "Function" in c.operation]
    assert done == ["CreateFunction", "CreateFunction"]
    without_secrets(room, seen.notebook.cells)
