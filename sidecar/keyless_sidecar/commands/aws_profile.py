"""Copy the static keys of a person's AWS profile into a vault entry (``vault add --from-profile``).

Reads ``~/.aws`` as the person's own tools do, but runs none of its providers: a profile whose keys
come from SSO, a role or a program has nothing lasting to copy.
"""

from __future__ import annotations

from botocore.exceptions import BotoCoreError
from botocore.session import Session

from keyless_sidecar.vault import VaultError

__all__ = ["profile_fields"]

_FIELDS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "region": "region",
}


def profile_fields(name: str) -> dict[str, str]:
    """The fields of an ``aws`` entry from a profile.

    Raises:
        VaultError: there is no such profile, its file doesn't parse, or it holds no static keys.
    """
    try:
        profiles = Session().full_config.get("profiles", {})
    except BotoCoreError as error:
        raise VaultError(f"The AWS configuration can't be read: {error}") from None
    profile = profiles.get(name)
    if profile is None:
        known = ", ".join(sorted(profiles)) or "none"
        raise VaultError(f"There is no AWS profile {name} (there are: {known})")
    fields = {
        ours: value
        for theirs, ours in _FIELDS.items()
        if isinstance(value := profile.get(theirs), str) and value
    }
    if not {"access_key_id", "secret_access_key"} <= set(fields):
        raise VaultError(
            f"The AWS profile {name} holds no static keys (SSO, a role or a program gives them): "
            "only static keys can be copied. To have it asked each time: jupyter keyless vault add "
            f"NAME --source aws-profile --profile {name}"
        )
    return fields
