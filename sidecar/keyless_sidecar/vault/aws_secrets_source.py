"""Sources ``aws-secrets-manager`` and ``aws-ssm``: a secret or parameter, read with given keys."""

from __future__ import annotations

from typing import Any

from keyless_sidecar.vault.answers import expiry, fields_of_text, parse_object
from keyless_sidecar.vault.aws_session import (
    AWS_TIMEOUT,
    keys_session,
    make_client,
    profile_session,
    said,
)
from keyless_sidecar.vault.deadline import within
from keyless_sidecar.vault.declarations import Declaration
from keyless_sidecar.vault.entries import Entry
from keyless_sidecar.vault.kinds import KINDS, VaultError
from keyless_sidecar.vault.source_settings import AwsParameter, AwsSecret
from keyless_sidecar.vault.surroundings import Surroundings

__all__ = ["fetch_secret"]


def fetch_secret(
    declaration: Declaration, access: Entry | None, surroundings: Surroundings
) -> Entry:
    """Read the secret or parameter that an entry names.

    Args:
        declaration: of either source.
        access: the entry that gives access, None where a profile does.

    Raises:
        VaultError: AWS doesn't give it, or it isn't what the entry needs.
    """
    settings, name = declaration.settings, declaration.info.name
    if not isinstance(settings, AwsSecret | AwsParameter):
        raise TypeError("not a secret in AWS")
    if access is not None and access.kind != "aws":
        raise VaultError(f"{name}: the credential {access.name} must be of kind aws")

    def work() -> str:
        if access is not None:
            session = keys_session(name, access.fields, surroundings)
        else:
            session = profile_session(name, settings.profile, surroundings)
        service = "secretsmanager" if isinstance(settings, AwsSecret) else "ssm"
        client = make_client(session, name, service, settings.region)
        try:
            return _read(name, client, settings)
        except VaultError:
            raise
        except Exception as error:  # noqa: BLE001 - botocore's parsers fail in any way on odd answers
            raise VaultError(f"{name}: AWS doesn't give the secret: {said(error)}") from None
        finally:
            client.close()

    text = within(AWS_TIMEOUT, name, work)
    kind = declaration.info.kind
    fields = fields_of_text(name, kind, text, settings.fields)
    is_object = bool(settings.fields) or not KINDS[kind].single
    end = expiry(name, parse_object(name, text)) if is_object else None
    return Entry.of(declaration.info, fields, end)


def _read(name: str, client: Any, settings: AwsSecret | AwsParameter) -> str:
    if isinstance(settings, AwsParameter):
        answer = client.get_parameter(Name=settings.parameter, WithDecryption=True)
        value = answer["Parameter"]["Value"]
    else:
        stage = {"VersionStage": settings.version_stage} if settings.version_stage else {}
        answer = client.get_secret_value(SecretId=settings.secret_id, **stage)
        value = answer.get("SecretString")
        if value is None:
            try:
                value = answer.get("SecretBinary", b"").decode()
            except UnicodeDecodeError:
                raise VaultError(f"{name}: the secret is no text") from None
    if not isinstance(value, str) or not value:
        raise VaultError(f"{name}: the secret is empty")
    return value
