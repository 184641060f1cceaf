"""Builds what Binder would build, in a container, and runs it as Binder would: ``make binder``.

Binder's own base image and its conda environment can't be had everywhere. A small Debian with a
virtual environment at the same place stands for them. From there on the instructions are those that
repo2docker prints. What comes of it runs without a network, as user 1000, without capabilities, and
under a filter like Docker's, which refuses namespaces as Binder does.

Takes five to ten minutes. ``--keep`` runs what was built the last time, in two. All that it makes
is in ``build/binder``.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from string import Template

import repo2docker
from tests.binder import session
from tests.binder.dockerfile import CHECKOUT, UID, USER, Instruction, instructions, printed
from tests.binder.podman import Failed, Podman, need_programs, output

FOLDER = CHECKOUT / "build" / "binder"
BASE, IMAGE, BUILDING = "localhost/binder-base:1", "localhost/binder:1", "binder-building"
_SUITE = "bookworm"
_INCLUDED = "python3,python3-venv,ca-certificates"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
#: What the instructions before ``ARG REPO_DIR`` leave, as far as it matters.
_STAND_IN = f"""\
useradd --create-home --uid {UID} --shell /bin/bash {USER}
mkdir -p /srv/conda/envs /srv/npm
chown -R {USER}:{USER} /srv
setpriv --reuid={UID} --regid={UID} --clear-groups python3 -m venv /srv/conda/envs/notebook
echo 'PATH=/srv/conda/envs/notebook/bin:$PATH' >/etc/profile.d/activate-conda.sh
"""


def main() -> int:
    """Build and run.

    Returns:
        0 where everything holds, 1 where something doesn't.
    """
    parser = argparse.ArgumentParser(prog="make binder", description="Build and run.")
    parser.add_argument("--keep", action="store_true", help="run the image of the last time")
    parser.add_argument("notebooks", nargs="*", help="names of notebooks (default: all)")
    options = parser.parse_args()
    os.nice(10)
    began = time.monotonic()
    try:
        need_programs()
        podman = Podman(FOLDER)
        if not options.keep:
            build(podman)
        held = session.check(podman, IMAGE, FOLDER / "out", options.notebooks)
    except Failed as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    print(
        f"{'✓ Binder' if held else '✗ Not as Binder should be'} ({time.monotonic() - began:.0f} s)"
    )
    return 0 if held else 1


def build(podman: Podman) -> None:
    """Replay the Dockerfile, from the stand-in for its base on.

    Raises:
        Failed: a step did.
    """
    podman.run("rm", "--force", "--ignore", "--time=2", BUILDING)
    _base(podman)
    arguments = ["run", "--detach", f"--name={BUILDING}", "--network=host"]
    if _CERTIFICATES.is_file():  # of a proxy before the registries, say
        arguments.append(f"--volume={_CERTIFICATES}:{_CERTIFICATES}:ro")
    podman.run(*arguments, BASE, "sleep", "3600")
    try:
        changes = _Replay(podman, instructions(printed())).play()
        podman.run("commit", "--quiet", *(f"--change={each}" for each in changes), BUILDING, IMAGE)
    finally:
        podman.run("rm", "--force", "--time=2", BUILDING)


def _base(podman: Podman) -> None:
    archive = FOLDER / "base.tar"
    if not archive.exists():
        _say("mmdebstrap")
        half = archive.with_suffix(".half.tar")
        output(["mmdebstrap", "--variant=minbase", f"--include={_INCLUDED}", _SUITE, str(half)])
        half.rename(archive)
    if BASE not in podman.run("images", "--format={{.Repository}}:{{.Tag}}"):
        podman.run("import", str(archive), BASE)


class _Replay:
    """Follows instructions; knows environment, user and folder at each of them."""

    def __init__(self, podman: Podman, steps: list[Instruction]) -> None:
        self._podman = podman
        self._steps = steps
        self._environment = {
            "NB_USER": USER,
            "NB_UID": str(UID),
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        }
        self._user, self._folder = "root", "/"

    def play(self) -> list[str]:
        """Replay all; returns what the image is to know, as instructions."""
        start = next(i for i, each in enumerate(self._steps) if each.rest.startswith("REPO_DIR="))
        for each in self._steps[:start]:
            if each.word == "ENV":
                self._set(each.rest)
        # The stand-in has no other locale.
        self._environment |= {"LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", "LANGUAGE": "C"}
        self._run(_STAND_IN)
        kept = []
        for each in self._steps[start:]:
            if each.word in ("ARG", "ENV"):
                self._set(each.rest)
            elif each.word == "USER":
                self._user = self._filled(each.rest)
            elif each.word == "WORKDIR":
                self._folder = self._filled(each.rest)
            elif each.word == "RUN":
                self._run(each.rest)
            elif each.word == "COPY":
                self._copy(each.rest)
            elif each.word in ("ENTRYPOINT", "CMD"):
                kept.append(f"{each.word} {each.rest}")
            elif each.word != "LABEL":
                raise Failed(f"repo2docker has an instruction that isn't known here: {each}")
        kept += [f"ENV {name}={value}" for name, value in self._environment.items()]
        return [*kept, f"USER {self._user}", f"WORKDIR {self._folder}"]

    def _filled(self, text: str) -> str:
        return Template(text).safe_substitute(self._environment)

    def _set(self, text: str) -> None:
        for word in shlex.split(text):
            name, _, value = word.partition("=")
            self._environment[name] = self._filled(value)

    def _exec(self, *argv: str, stdin: int | None = None, user: str = "") -> None:
        settings = [f"--env={name}={value}" for name, value in self._environment.items()]
        if _CERTIFICATES.is_file():
            trusted = ("PIP_CERT", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")
            settings += [f"--env={name}={_CERTIFICATES}" for name in trusted]
        options = ["--interactive", f"--user={user or self._user}", f"--workdir={self._folder}"]
        self._podman.run("exec", *options, *settings, BUILDING, *argv, stdin=stdin, seconds=1800)

    def _run(self, command: str) -> None:
        _say(f"{self._user}: {command.splitlines()[0][:110]}")
        self._exec("/bin/sh", "-ec", command)

    def _copy(self, text: str) -> None:
        *options, source, target = (self._filled(word) for word in shlex.split(text))
        _say(f"copy {source} to {target}")
        if source == "src/":
            self._unpack(_checkout(["."]), target)
        elif source.startswith("src/"):
            self._unpack(_checkout([source.removeprefix("src/")]), self._folder)
        else:  # a file of repo2docker's own
            found = Path(repo2docker.__file__).parent / "buildpacks" / source.lstrip("/")
            self._podman.run("cp", str(found), f"{BUILDING}:{target}")
            mode = next((o.removeprefix("--chmod=") for o in options if "--chmod=" in o), "0644")
            self._exec("chmod", mode, target, user="root")

    def _unpack(self, files: list[str], target: str) -> None:
        archive = FOLDER / "checkout.tar"
        argv = ["tar", "--create", f"--file={archive}", f"--directory={CHECKOUT}"]
        subprocess.run(
            [*argv, "--null", "--files-from=-"],
            input="\0".join(files),
            text=True,
            check=True,
        )
        with archive.open("rb") as stream:
            # By the user, so that folders become that user's too, as COPY does it.
            command = ("tar", "--extract", "--file=-", f"--directory={target}")
            self._exec(*command, stdin=stream.fileno(), user=USER)


def _checkout(paths: list[str]) -> list[str]:
    """Files that Git has or would take: what a clone of this checkout would hold."""
    argv = ["git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others"]
    names = output([*argv, "--exclude-standard", "--", *paths]).split("\0")
    return [name for name in names if name and (CHECKOUT / name).exists()]


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
