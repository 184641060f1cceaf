"""What a person writes about each source elsewhere: one class a source, with its settings.  Pure.

No setting holds a secret: where a source needs one to let us in, the setting names another entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from keyless_sidecar.vault.kinds import KINDS

__all__ = [
    "SOURCES",
    "AwsParameter",
    "AwsProfile",
    "AwsSecret",
    "Command",
    "KeyringItem",
    "OpenBao",
    "Settings",
]

Text = Annotated[str, Meta(min_length=1, max_length=2048)]
Seconds = Annotated[float, Meta(ge=0, le=86400)]
#: How long a network source's answer is used again.
CACHE = 30.0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all sources have: none by itself."""

    source: ClassVar[str]

    def needs(self) -> tuple[str, ...]:
        """Names of the entries that give access to the source."""
        return ()

    def fault(self, kind: str) -> str:
        """What is wrong with the settings together, empty where nothing is."""
        return ""


class Mapped(Settings, frozen=True, kw_only=True):
    """A source that answers with a text or an object.

    Attributes:
        fields: field → member of the answer (a name, or a JSON pointer such as ``/data/key``).
    """

    fields: dict[Text, Text] = {}

    def fault(self, kind: str) -> str:
        """A field that the kind doesn't have."""
        known = KINDS[kind]
        names = {*known.required, *known.optional}
        if not known.any_field and not set(self.fields) <= names:
            return f"fields of kind {kind} are {', '.join(sorted(names))}"
        return ""


class AwsProfile(Settings, frozen=True, kw_only=True):
    """``aws-profile``: what botocore's own chain makes of a profile."""

    source = "aws-profile"
    profile: Text
    region: str = ""

    def fault(self, kind: str) -> str:
        """Another kind than ``aws``."""
        return "" if kind == "aws" else "the source aws-profile goes with kind aws"


class _FromAws(Mapped, frozen=True, kw_only=True):
    profile: str = ""
    credential: str = ""
    region: str = ""
    cache: Seconds = CACHE

    def needs(self) -> tuple[str, ...]:
        return (self.credential,) if self.credential else ()

    def fault(self, kind: str) -> str:
        if bool(self.profile) == bool(self.credential):
            return (
                "name either the profile or the credential (an entry of kind aws) that may read it"
            )
        return super().fault(kind)


class AwsSecret(_FromAws, frozen=True, kw_only=True):
    """``aws-secrets-manager``: a secret in AWS Secrets Manager."""

    source = "aws-secrets-manager"
    secret_id: Text
    version_stage: str = ""


class AwsParameter(_FromAws, frozen=True, kw_only=True):
    """``aws-ssm``: a parameter in AWS Systems Manager Parameter Store."""

    source = "aws-ssm"
    parameter: Text


class OpenBao(Mapped, frozen=True, kw_only=True):
    """``openbao``: a secret in a KV v2 engine of OpenBao or HashiCorp Vault.

    Attributes:
        token: the entry (kind ``token``) with the token to use; or
        app_role: the entry (kind ``basic``) with role id and secret id.
    """

    source = "openbao"
    address: Text
    path: Text
    mount: Text = "secret"
    version: Annotated[int, Meta(ge=1)] | None = None
    token: str = ""
    app_role: str = ""
    auth_mount: Text = "approle"
    namespace: str = ""
    ca_file: str = ""
    cache: Seconds = CACHE

    def needs(self) -> tuple[str, ...]:
        """The entry with token or AppRole."""
        return (self.token or self.app_role,)

    def fault(self, kind: str) -> str:
        """No way in or two, or a path that leads elsewhere."""
        if bool(self.token) == bool(self.app_role):
            return "name either the token or the app_role (entries) that may read it"
        for place in (self.path, self.mount, self.auth_mount):
            if not place.isprintable() or set(place) & set("?#%\\") or ".." in place.split("/"):
                return "path and mounts are plain paths"
        return super().fault(kind)


class Command(Mapped, frozen=True, kw_only=True):
    """``command``: a person's program, run when the values are needed.

    Attributes:
        argv: absolute path and arguments; no shell.
        format: ``json`` or ``raw``; by default what fits the kind.
        environment: variables beside PATH, HOME and LANG.
    """

    source = "command"
    argv: Annotated[list[Text], Meta(min_length=1, max_length=64)]
    format: Literal["", "json", "raw"] = ""
    timeout: Annotated[float, Meta(gt=0, le=60)] = 10.0
    cache: Seconds = 0.0
    environment: dict[Text, str] = {}

    def fault(self, kind: str) -> str:
        """A program without a full path, or a format that can't give the fields."""
        if not self.argv[0].startswith("/"):
            return "argv starts with the program's absolute path"
        if any("\0" in text for text in (*self.argv, *self.environment.values())):
            return "argv and environment hold no NUL"
        if any("=" in name or "\0" in name for name in self.environment):
            return "environment has names of variables"
        if self.format == "raw" and (self.fields or not KINDS[kind].single):
            return "format raw goes with one value and without fields"
        return super().fault(kind)


class KeyringItem(Mapped, frozen=True, kw_only=True):
    """``keyring``: an item of the operating system's keyring."""

    source = "keyring"
    service: Text
    account: Text


#: Settings by source.
SOURCES: Mapping[str, type[Settings]] = {
    kind.source: kind
    for kind in (AwsProfile, AwsSecret, AwsParameter, OpenBao, Command, KeyringItem)
}
