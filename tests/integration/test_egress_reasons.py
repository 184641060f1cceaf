"""Why a request was refused reaches each tool's user: in the status line, the body, or a note."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.egress import AWS_CLI, Egress
from tests.support.web import Handler, serving

from keyless_sidecar.egress.messages import phrase
from keyless_sidecar.vault import Entry

RULE = "The test's policy says so (rule test:http:*)."
HOST = "api.github.com"


class _Api(Handler):
    """Lets git begin a push, and nothing more."""

    def do_GET(self) -> None:
        service = b"# service=git-receive-pack\n"
        line = b"0" * 40 + b" capabilities^{}\0report-status\n"
        packets = [b"%04x" % (len(each) + 4) + each for each in (service, line)]
        self.send_response(200)
        self.send_header("Content-Type", "application/x-git-receive-pack-advertisement")
        body = packets[0] + b"0000" + packets[1] + b"0000"
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def egress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Egress]:
    entries = [
        Entry("gh", "token", {"value": "ghp_Zt8mQ1xV4kW7rB2nL9cY6hJ3pD5sF0gAeR1u"}, ("gh",),
              hosts=(HOST,)),
        Entry("prod", "aws", {"access_key_id": "AKIAQ7ZK3M9XW2V5TB8N",
                              "secret_access_key": "Zt8mQ1xV4kW7rB2nL9cY6hJ3pD5sF0gAeR1uI2oP"},
              ("gh",)),
    ]  # fmt: skip
    with (
        serving(_Api) as port,
        Egress(
            tmp_path_factory.mktemp("egress"),
            entries,
            {"*.github.com": f"http://127.0.0.1:{port}"},
            {"http:GET": "allow", "http:*": "deny", "aws:*": "deny"},
            allowed=["*.github.com", "*.amazonaws.com:*"],
            tool="gh",
        ) as running,
    ):
        yield running


@pytest.fixture(autouse=True)
def _afresh(egress: Egress) -> None:
    egress.policy.rules = {"http:*": "deny", "aws:*": "deny"}
    egress.notes()


def run(egress: Egress, folder: Path, *words: str | Path) -> tuple[int, str]:
    """What a program prints, in an empty folder; and how it ended."""
    token = egress.token("gh")
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "https_proxy": egress.url,
        "CURL_CA_BUNDLE": str(egress.ca),
        "GIT_SSL_CAINFO": str(egress.ca),
        "SSL_CERT_FILE": str(egress.ca),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GH_TOKEN": token,
        **egress.environment("prod"),
        "T": token,
    }
    done = subprocess.run([*words], capture_output=True, env=environment, cwd=folder, timeout=60)
    return done.returncode, (done.stdout + done.stderr).decode()


def test_curl_shows_it_in_the_status_line_and_in_the_body(egress: Egress, tmp_path: Path) -> None:
    _, said = run(egress, tmp_path, "curl", "-sSI", f"https://{HOST}/user")
    assert f"HTTP/1.1 403 Keyless: this is not allowed: {RULE}" in said
    _, said = run(egress, tmp_path, "curl", "-sS", f"https://{HOST}/user")
    assert said == f"Keyless: this is not allowed: {RULE}\n"
    code, said = run(egress, tmp_path, "curl", "-sSf", f"https://{HOST}/user")
    assert (code, RULE in said) == (22, False)  # curl leaves it out; the note has it
    assert f"request refused: GET {HOST}/user: this is not allowed: {RULE}" in egress.notes()


def test_gh_shows_it(egress: Egress, tmp_path: Path) -> None:
    for words in (("api", "user"), ("repo", "list")):
        code, said = run(egress, tmp_path, "gh", *words)
        assert code != 0
        assert RULE in said


def test_git_shows_it(egress: Egress, tmp_path: Path) -> None:
    code, said = run(egress, tmp_path, "git", "ls-remote", f"https://{HOST}/me/x.git")
    assert code != 0
    assert f"remote: Keyless: this is not allowed: {RULE}" in said


def test_a_push_that_git_says_nothing_of_has_a_note(egress: Egress, tmp_path: Path) -> None:
    egress.policy.rules = {"http:GET": "allow", "http:*": "deny"}
    for words in (
        ("init", "-q"),
        ("-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "--allow-empty", "-m", "m"),
    ):
        assert run(egress, tmp_path, "git", *words)[0] == 0
    code, _ = run(egress, tmp_path, "git", "push", f"https://{HOST}/me/x.git", "HEAD:main")
    assert code != 0
    told = f"request refused: POST {HOST}/me/x.git/git-receive-pack: this is not allowed: {RULE}"
    assert told in egress.notes()


def test_a_head_of_s3_has_a_note(egress: Egress, tmp_path: Path) -> None:
    code, said = run(egress, tmp_path, AWS_CLI, "s3", "cp", "s3://pictures/a", "x")
    assert code != 0
    assert "rule test:" not in said  # there is no body, and the CLI looks nowhere else
    wanted = r"request refused: HEAD \S*s3\S*/a: .*The test's policy says so \(rule test:aws:\*\)"
    assert re.search(wanted, egress.notes())


def test_a_host_that_is_out_of_reach_has_a_note(egress: Egress, tmp_path: Path) -> None:
    code, said = run(egress, tmp_path, "curl", "-sSv", "https://evil.example.com/")
    assert code != 0
    assert "403 Keyless: evil.example.com:443 is not among the hosts" in said
    assert "egress refused: evil.example.com:443: it is not among the hosts" in egress.notes()


@pytest.mark.parametrize(
    ("sentence", "line"),
    [
        ("Two\r\nlines: \x1b[31mred\x00", "Two lines: ?[31mred?"),
        ("caf\u00e9 \u202e", "caf? ?"),
        ("x" * 300 + " (rule policy.cedar:a).", "x" * 154 + "... (rule policy.cedar:a)."),
        ("x" * 300, "x" * 177 + "..."),
        ("", ""),
    ],
)
def test_a_status_line_is_one_short_line(sentence: str, line: str) -> None:
    assert phrase(sentence) == line
    assert len(line) <= 180
