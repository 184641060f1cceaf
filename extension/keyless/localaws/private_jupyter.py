"""A Jupyter of the demo's own: configuration, vault and audit below a temporary folder.

Used by ``rehearsal``.  Everything in it goes through the same doors as a person's: the
configuration file, ``jupyter keyless vault add``, ``jupyter keyless audit verify``.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

VAULT_ENTRY = "local-aws"
_FOLDERS = ("config", "data", "runtime")
#: Where Jupyter would look beside its folders.
_SEARCHED = ("JUPYTER_CONFIG_PATH", "JUPYTER_PATH")


#: What the demo's person allows: deploying, and nothing that hands out secrets or lets others in.
POLICY = """\
@id("deploy")
permit (
  principal,
  action in [Action::"aws:lambda", Action::"aws:s3", Action::"aws:sts"],
  resource
)
when { context.exposure == "" };

@id("tools")
permit (principal, action == Action::"exec", resource)
when { ["none", "proxy"].contains(context.delivery) };
"""


class CommandRefused(RuntimeError):
    """A command of ours said no; the message is what it said."""


class PrivateJupyter:
    """Paths and commands; made by :func:`private_jupyter`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def configure(
        self, workspace: Path | None, endpoint: str, *, policy: str = POLICY, more: str = ""
    ) -> None:
        """Write ``jupyter_keyless_config.py`` and the policy.

        Args:
            workspace: that kernels work in; ``None`` gives each a fresh one of its own.
            endpoint: of the local AWS.
            policy: text of ``policy.cedar``.
            more: further lines of the configuration.
        """
        file = self._root / "config" / "keyless" / "policy.cedar"
        file.parent.mkdir(mode=0o700)
        file.touch(mode=0o600)
        file.write_text(policy)
        (self._root / "config" / "jupyter_keyless_config.py").write_text(
            f"c.Egress.upstreams = {{'*.amazonaws.com': {endpoint!r}}}\n"
            f"c.Confinement.workspace = {str(workspace or '')!r}\n" + more
        )

    def configure_server(self, settings: Mapping[str, object]) -> None:
        """Write ``jupyter_server_config.py``.

        Args:
            settings: ``Class.trait`` to value.
        """
        lines = (f"c.{name} = {value!r}\n" for name, value in settings.items())
        (self._root / "config" / "jupyter_server_config.py").write_text("".join(lines))

    def store_aws_key(
        self,
        key_id: str,
        secret: str,
        region: str,
        *,
        name: str = VAULT_ENTRY,
        tools: Sequence[str] = (),
        delivery: str = "",
    ) -> None:
        """Put a key into the encrypted file vault, over a pipe.

        Args:
            key_id: access key id.
            secret: secret access key.
            region: default one of the entry.
            name: of the entry.
            tools: that it is bound to; by default ``aws``.
            delivery: by default ``proxy``.

        Raises:
            CommandRefused: the vault said no.
        """
        fields = {"access_key_id": key_id, "secret_access_key": secret, "region": region}
        options = [word for tool in tools for word in ("--tool", tool)]
        if delivery:
            options += ["--delivery", delivery]
        self._add(name, "aws", json.dumps(fields), options)

    def store_token(self, value: str, *, name: str, tool: str, host: str) -> None:
        """Put a token that is for one host into the encrypted file vault, over a pipe.

        Args:
            value: of the token.
            name: of the entry.
            tool: that it is bound to.
            host: that the proxy gives it to.

        Raises:
            CommandRefused: the vault said no.
        """
        self._add(name, "token", value, ["--tool", tool, "--host", host])

    def _add(self, name: str, kind: str, secret: str, options: Sequence[str]) -> None:
        self._run(["add", name, "--kind", kind, "--from-stdin", *options], "vault", secret)

    def verify_audit(self) -> str:
        """Check the chains of records; returns how many there are.

        Raises:
            CommandRefused: the chain is broken.
        """
        reports = json.loads(self._run(["verify", "--json"], "audit"))
        records = sum(report["records"] for report in reports)
        if not records:
            raise CommandRefused("there are no records")
        return f"{records} records in {len(reports)} file{'s' if len(reports) > 1 else ''}"

    def _run(self, argv: Sequence[str], command: str, stdin: str = "") -> str:
        data = str(self._root / "data" / "keyless")
        done = subprocess.run(
            [sys.executable, "-I", "-m", "keyless_sidecar", command, "--data-dir", data, *argv],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=self._root,
        )
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise CommandRefused(lines[-1] if lines else f"{command} ended with {done.returncode}")
        return done.stdout


@contextlib.contextmanager
def private_jupyter() -> Iterator[PrivateJupyter]:
    """Point this process and its children to Jupyter folders of their own, and back again."""
    with tempfile.TemporaryDirectory(prefix="keyless-demo-") as folder:
        root = Path(folder)
        for name in _FOLDERS:
            (root / name).mkdir(mode=0o700)
        settings = {f"JUPYTER_{name.upper()}_DIR": str(root / name) for name in _FOLDERS}
        settings["IPYTHONDIR"] = str(root / "ipython")
        before = {name: os.environ.get(name) for name in (*settings, *_SEARCHED)}
        os.environ.update(settings)
        for name in _SEARCHED:
            os.environ.pop(name, None)
        try:
            yield PrivateJupyter(root)
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
