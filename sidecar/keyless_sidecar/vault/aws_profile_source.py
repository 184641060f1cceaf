"""Source ``aws-profile``: session credentials as botocore's chain gives them, renewed in time."""

from __future__ import annotations

from datetime import UTC, datetime

from keyless_sidecar.vault.aws_session import AWS_TIMEOUT, profile_session, said
from keyless_sidecar.vault.deadline import within
from keyless_sidecar.vault.declarations import Declaration
from keyless_sidecar.vault.entries import Entry
from keyless_sidecar.vault.kinds import VaultError
from keyless_sidecar.vault.source_settings import AwsProfile
from keyless_sidecar.vault.surroundings import Surroundings

__all__ = ["fetch_profile"]


def fetch_profile(declaration: Declaration, surroundings: Surroundings) -> Entry:
    """Fresh credentials of a profile.

    A new session each time: what a chain keeps for itself is renewed by botocore's rules, which for
    sessions of 15 minutes means at every use.  How long an entry is used again is decided by
    :mod:`keyless_sidecar.vault.remotes`.

    Raises:
        VaultError: there are none; the message says why, without what others said.
    """
    settings, name = declaration.settings, declaration.info.name
    if not isinstance(settings, AwsProfile):
        raise TypeError("not an aws-profile")

    def work() -> Entry:
        session = profile_session(name, settings.profile, surroundings)
        try:
            credentials = session.get_credentials()
            if credentials is None:
                raise VaultError(f"{name}: the AWS profile {settings.profile} has no credentials")
            keys = credentials.get_frozen_credentials()
            region = settings.region or session.get_config_variable("region")
        except VaultError:
            raise
        except Exception as error:  # noqa: BLE001 - botocore's parsers fail in any way on odd answers
            raise VaultError(
                f"{name}: the AWS profile {settings.profile} gives no credentials: {said(error)}"
                f"{_advice(error)}"
            ) from None
        fields = {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "session_token": keys.token,
            "region": region,
        }
        # botocore tells the end of a session nowhere else.
        end = getattr(credentials, "_expiry_time", None)
        expires = end.astimezone(UTC) if isinstance(end, datetime) else None
        return Entry.of(declaration.info, {k: v for k, v in fields.items() if v}, expires)

    return within(AWS_TIMEOUT, name, work)


def _advice(error: Exception) -> str:
    text = type(error).__name__
    if "SSO" in text or "Token" in text or "Login" in text:
        return " (aws sso login, or aws login, renews a person's session)"
    return ""
