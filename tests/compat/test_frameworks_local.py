"""Frameworks that start kernels themselves: AutoGen, nbclient, papermill.  Real, and unmodified."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import nbformat
import pytest
from tests.support.frameworks import BIN, FUNCTION, MAGIC, run, variables
from tests.support.host_api import World, world


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    with world() as made:
        made.store_key()
        yield made


AUTOGEN = """
import asyncio
from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock
from autogen_ext.code_executors.jupyter import JupyterCodeExecutor

async def main():
    async with JupyterCodeExecutor(kernel_name="keyless", timeout=60) as executor:
        said = []
        for code in codes:
            block = CodeBlock(code=code, language="python")
            result = await executor.execute_code_blocks([block], CancellationToken())
            said.append([result.exit_code, result.output])
        print()
        print(json.dumps(said))

asyncio.run(main())
"""


def test_autogen(here: World) -> None:
    refused = "%secure_exec aws iam create-access-key"
    codes = [MAGIC, FUNCTION, "import os; print(sorted(os.environ))", refused]
    magic, function, environment, denied = run(here, AUTOGEN, {"codes": codes})
    for code, output in (magic, function):
        assert code == 0
        # AutoGen puts a line break between outputs, of which a slow machine makes two here.
        assert here.aws.user_arn in output.replace("\n", "")
    assert "AWS_SECRET_ACCESS_KEY" not in environment[1]
    # what is refused must not look like a success to an agent
    assert denied[0] != 0
    assert "PolicyDenied" in denied[1]
    assert not here.holds_key(str([magic, function, environment, denied]))


NBCLIENT = """
import nbformat
from nbclient import NotebookClient

made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in codes])
done = NotebookClient(made, kernel_name="keyless", timeout=60).execute()
said = ["".join(str(o.get("text", "")) for o in cell.outputs) for cell in done.cells]
print(json.dumps(said))
"""


def test_nbclient(here: World) -> None:
    for output in run(here, NBCLIENT, {"codes": [MAGIC, FUNCTION]}):
        assert here.aws.user_arn in output
        assert not here.holds_key(output)


LAST = "secure_exec('aws', ['sts', operation]).json()['Arn']"


def test_papermill(here: World) -> None:
    codes = ("operation = ''", MAGIC, "from keyless import secure_exec", LAST)
    cells = [nbformat.v4.new_code_cell(code) for code in codes]
    cells[0].metadata["tags"] = ["parameters"]
    source, target = here.home / "in.ipynb", here.home / "out.ipynb"
    spec = {"name": "keyless", "display_name": "Python 3 (Keyless)", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec}), source)
    arguments = ["-p", "operation", "get-caller-identity", "--no-progress-bar"]
    done = subprocess.run(
        [BIN / "papermill", source, target, *arguments],
        env=variables(),
        cwd=here.home,
        timeout=100,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made = nbformat.read(target, as_version=4)
    assert made.cells[-1].outputs[0].data["text/plain"] == repr(here.aws.user_arn)
    assert not here.holds_key(target.read_bytes())
