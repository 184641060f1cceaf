"""``notebooks/02-three-patterns.ipynb``: one Lambda by each pattern, with table and plot."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image
from tests.support.hunt import Hunter

from keyless.localaws import LocalAws
from keyless.localaws.private_jupyter import PrivateJupyter, private_jupyter
from keyless.localaws.three_patterns import ROLE, configure, local_aws

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "02-three-patterns.ipynb"

World = tuple[LocalAws, PrivateJupyter]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    tmp_path.chmod(0o755)
    with local_aws() as aws, private_jupyter() as jupyter:
        configure(jupyter, tmp_path / "workspace", aws)
        yield aws, jupyter


def printed(cell: NotebookNode) -> str:
    return "".join(out.text for out in cell.outputs if out.output_type == "stream")


def test_every_pattern_deploys_and_says_what_it_exposed(world: World) -> None:
    aws, jupyter = world
    notebook = nbformat.read(NOTEBOOK, 4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=120).execute()
    cells = {c.metadata.keyless.step: c for c in notebook.cells if c.cell_type == "code"}
    # What reached AWS, and in whose name.
    updates = [c for c in aws.requests if c.operation == "UpdateFunctionCode" and c.status == 200]
    users = [call.principal for call in updates]
    assert len(updates) == 4
    assert [f":assumed-role/{ROLE}/" in user for user in users] == [False, True, False, False]
    assert {user for user in users if "assumed-role" not in user} == {aws.user_arn}
    # The table and the plot.
    (shown,) = cells["The table"].outputs
    rows = shown.data["text/markdown"].splitlines()[2:]
    words = [[word.strip() for word in row.strip("|").split("|")] for row in rows]
    assert [row[3] for row in words] == ["-", "the cell", "the tool", "-"]
    assert [row[4] == "never" for row in words] == [True, False, False, True]
    picture = next(o for o in cells["The plot"].outputs if "image/png" in o.get("data", {}))
    size = Image.open(io.BytesIO(base64.b64decode(picture.data["image/png"]))).size
    assert size[0] > 400
    # The long-lived key is nowhere; that the session's was shown only in part is the cell's doing.
    hunter = Hunter({"key": aws.secret_access_key})
    assert hunter.data(nbformat.writes(notebook).encode(), "notebook") == []  # type: ignore[no-untyped-call]
    assert "revoked" in printed(cells["Pattern 2 deploys"]).lower()
    jupyter.verify_audit()
