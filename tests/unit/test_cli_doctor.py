"""``jupyter keyless doctor``: says what a kernel's start would say, and what helps."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import keyless_kernel.confine
import keyless_kernel.confine.bubblewrap
import keyless_kernel.confine.seccomp
from keyless.cli import app, checks, first_use
from keyless_kernel.confine import ConfinementUnavailable
from keyless_sidecar.vault import Entry, FileSource

TOKEN = Entry("gh", "token", {"value": "q7Zr-Kw92_xTnB4vLm8c"}, ("gh",))


class Doctor:
    """Runs the doctor in a Jupyter of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys = capsys
        self.config = folder / "config"
        self.data = folder / "data" / "keyless"

    def run(self) -> tuple[int, dict[str, dict[str, Any]]]:
        code = app.main(["doctor", "--json"])
        answer = json.loads(self._capsys.readouterr().out)
        assert answer["ok"] == (code == 0)
        return code, {check["name"]: check for check in answer["checks"]}

    def configure(self, text: str) -> None:
        self.config.mkdir(exist_ok=True)
        (self.config / "jupyter_keyless_config.py").write_text(text)


@pytest.fixture
def doctor(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Doctor:
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    return Doctor(capsys, tmp_path)


def test_a_good_machine(doctor: Doctor) -> None:
    FileSource(doctor.data).add(TOKEN)
    code, found = doctor.run()
    assert code == 0, found
    assert list(found) == [
        "system", "Python", "packages", "configuration", "bubblewrap", "libseccomp", "isolation",
        "kernelspec", "vault", "audit", "tools", "policy", "approvals", "front end",
        "optional parts",
    ]  # fmt: skip
    assert "1 entry" in found["vault"]["detail"]
    assert "namespaces" in found["isolation"]["detail"]


def test_the_table(doctor: Doctor, capsys: pytest.CaptureFixture[str]) -> None:
    doctor.configure("c.Nonsense.x = 1\n")
    assert app.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "✗ configuration" in out
    assert "→ correct the file" in out
    assert "✓ Python" in out


def test_no_vault_is_worth_a_note_only(doctor: Doctor) -> None:
    code, found = doctor.run()
    assert (code, found["vault"]["state"]) == (0, "note")
    assert found["vault"]["fix"].startswith("jupyter keyless vault add aws")


def test_a_vault_that_does_not_open(doctor: Doctor) -> None:
    FileSource(doctor.data).add(TOKEN)
    (doctor.data / "vault.key").unlink()
    code, found = doctor.run()
    assert (code, found["vault"]["state"]) == (1, "failed")
    assert "key file" in found["vault"]["detail"]


def test_an_audit_folder_that_cannot_be_used(doctor: Doctor) -> None:
    doctor.data.mkdir(parents=True)
    (doctor.data / "audit").write_text("")
    code, found = doctor.run()
    assert (code, found["audit"]["state"]) == (1, "failed")


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("c.Nonsense.x = 1", "configuration"),
        ("1 +", "configuration"),
        ("c.Confinement.bwrap = '/nowhere/bwrap'", "bubblewrap"),
        ("c.Confinement.minimum = 'perfect'", "isolation"),
        ("c.Tools.declared = {'x': {'path': 'relative'}}", "tools"),
        ("c.Tools.aws = {'path': '/nowhere/aws'}", "tools"),
    ],
)
def test_a_bad_configuration_is_named(doctor: Doctor, text: str, check: str) -> None:
    doctor.configure(text + "\n")
    code, found = doctor.run()
    assert (code, found[check]["state"]) == (1, "failed")


def test_what_this_host_lacks(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ConfinementUnavailable("it is missing")

    monkeypatch.setattr(keyless_kernel.confine.bubblewrap, "find_bwrap", missing)
    monkeypatch.setattr(keyless_kernel.confine.seccomp, "filters", missing)
    monkeypatch.setattr(keyless_kernel.confine, "probe", missing)
    monkeypatch.setenv("JUPYTER_PATH", "/nowhere")
    code, found = doctor.run()
    assert code == 1
    for name in ("bubblewrap", "libseccomp", "isolation"):
        assert found[name]["state"] == "failed"
    assert "apt-get install" in found["bubblewrap"]["fix"]


def test_an_older_bubblewrap_is_worth_a_note(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sys.modules["keyless_kernel.confine.probe"], "bwrap_version", lambda path: (0, 8)
    )
    _, found = doctor.run()
    assert found["bubblewrap"]["state"] == "note"


def test_a_kernelspec_without_the_sandbox(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "path" / "kernels" / "keyless"
    folder.mkdir(parents=True)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "path"))
    (folder / "kernel.json").write_text(
        json.dumps({"argv": ["python"], "display_name": "Fake", "language": "python"})
    )
    code, found = doctor.run()
    assert (code, found["kernelspec"]["state"]) == (1, "failed")
    assert "without the sandbox" in found["kernelspec"]["detail"]


def test_another_system(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    code, found = doctor.run()
    assert (code, list(found)) == (1, ["system"])


def test_a_privileged_half_that_is_broken(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/false")
    found = {check.name: check.state for check in checks.run_checks()}
    assert found["vault"] == found["audit"] == found["tools"] == "failed"


def test_who_has_an_aws_profile_is_told_the_one_command(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text("[default]\n")
    assert first_use.vault_fix() == "jupyter keyless vault add aws --from-profile default"


def test_a_policy_that_no_kernel_would_start_with(doctor: Doctor) -> None:
    policy = doctor.config / "keyless" / "policy.cedar"
    policy.parent.mkdir(parents=True)
    policy.write_text("permit (\n")
    code, found = doctor.run()
    assert (code, found["policy"]["state"]) == (1, "failed")
    assert "policy.cedar" in found["policy"]["detail"]


def test_what_is_not_installed_and_how_to_get_it(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_use, "find_spec", lambda name: None)
    monkeypatch.setattr(first_use, "requires", lambda name: ["no-such-thing>=1", "boto3>=1"])
    packages, extras, front_end = first_use.packages(), first_use.extras(), first_use.front_end()
    assert (packages.state, packages.fix) == ("failed", "pip install no-such-thing")
    assert extras.state == front_end.state == "note"
    assert "keyless[run,pandas,mcp" in extras.fix
    assert front_end.fix.startswith("pip install jupyterlab")
    monkeypatch.setattr(sys, "prefix", "/home/me/keyless")
    assert "/home/me/keyless-aws/bin/pip install awscli" in first_use.aws_fix()


def test_a_runtime_folder_that_cannot_be_made(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", "/dev/null/runtime")
    _, found = doctor.run()
    assert found["approvals"]["state"] == "failed"
    assert "JUPYTER_RUNTIME_DIR" in found["approvals"]["fix"]


def test_a_server_extension_that_is_off(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(tmp_path / "first"))
    folder = tmp_path / "first" / "jupyter_server_config.d"
    folder.mkdir(parents=True)
    off = {"ServerApp": {"jpserver_extensions": {"keyless.server": False}}}
    (folder / "keyless.json").write_text(json.dumps(off))
    shown = first_use.front_end()
    assert shown.state == "note"
    assert shown.fix == "jupyter server extension enable keyless.server"
