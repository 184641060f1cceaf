"""What Binder would build of this checkout, by the Dockerfile that repo2docker prints for it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from tests.binder.dockerfile import CHECKOUT, USER, Instruction, instructions, printed

BINDER = CHECKOUT / "binder"


@pytest.fixture(scope="module")
def build() -> list[Instruction]:
    return instructions(printed())


def _runs(build: list[Instruction]) -> list[tuple[str, str]]:
    """(user, command) of each ``RUN``."""
    user, found = "root", []
    for each in build:
        if each.word == "USER":
            user = each.rest
        elif each.word == "RUN":
            found.append((user, each.rest))
    return found


def test_what_runs_is_an_ordinary_user(build: list[Instruction]) -> None:
    users = [each.rest for each in build if each.word == "USER"]
    assert users[-1] == "${NB_USER}"
    after = build[max(i for i, each in enumerate(build) if each.word == "USER") :]
    assert {each.word for each in after} >= {"ENTRYPOINT", "CMD"}
    owners = {
        re.search(r"--chown=(\S+)", each.rest)[1]  # type: ignore[index]
        for each in build
        if each.word == "COPY" and "--chown" in each.rest
    }
    assert owners == {"1000:1000"}
    assert "sudo" not in " ".join(each.rest for each in build)


def test_packages_of_the_system_come_from_apt_txt(build: list[Instruction]) -> None:
    wanted = [
        name
        for line in (BINDER / "apt.txt").read_text().splitlines()
        if (name := line.partition("#")[0].strip())
    ]
    assert wanted == ["libseccomp2"]
    install = f"apt-get install --yes --no-install-recommends {' '.join(wanted)} "
    assert [user for user, command in _runs(build) if install in command] == ["root"]


def test_packages_of_python_are_locked(build: list[Instruction]) -> None:
    [(user, _)] = [run for run in _runs(build) if '-r "binder/requirements.txt"' in run[1]]
    assert user == "${NB_USER}"
    assert "/envs/notebook" in next(
        each.rest for each in build if each.rest.startswith("NB_PYTHON_PREFIX=")
    )
    assert "environment-2epy-2d3-2e11" in " ".join(each.rest for each in build)
    lock = (BINDER / "requirements.txt").read_text().replace("\\\n", " ")
    pins = [line for line in lock.splitlines() if line and not line.lstrip().startswith("#")]
    assert len(pins) > 100
    # One hash makes pip ask for that of each package.
    assert all("==" in pin and "--hash=sha256:" in pin for pin in pins)


def test_binder_has_the_versions_that_are_tested(build: list[Instruction]) -> None:
    def versions(file: Path) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9._-]+)==([^ ;]+)", file.read_text(), re.MULTILINE))

    tested = versions(CHECKOUT / "requirements" / "dev.lock")
    binder = versions(BINDER / "requirements.txt")
    differing = {name for name, version in binder.items() if tested.get(name) != version}
    assert differing <= {"notebook"}  # the one that Binder starts, and that we don't


def test_post_build_and_start_are_the_users(build: list[Instruction]) -> None:
    runs = _runs(build)
    assert ("${NB_USER}", "./binder/postBuild") in runs
    settings = [each.rest for each in build if each.word == "ENV"]
    assert 'R2D_ENTRYPOINT="${REPO_DIR}/binder/start"' in settings
    [entry] = [json.loads(each.rest) for each in build if each.word == "ENTRYPOINT"]
    assert entry == ["/usr/local/bin/repo2docker-entrypoint"]
    for name in ("postBuild", "start"):
        assert os.access(BINDER / name, os.X_OK)
    assert USER == "jovyan"
