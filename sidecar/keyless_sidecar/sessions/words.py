"""What a person is told of a session: what is exposed, to whom, for how long.  Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from keyless_sidecar.sessions.deciding import Wanted
from keyless_sidecar.sessions.session import Session
from keyless_sidecar.vault.session_options import SessionOptions

__all__ = ["closed_sentence", "exposure_sentence"]

_LISTED = 6


def exposure_sentence(wish: Wanted, expires: datetime) -> str:
    """For the cell and the audit.

    Args:
        wish: the session.
        expires: when its keys end.
    """
    options = wish.options
    minutes = wish.request.seconds // 60
    listed = ", ".join(wish.actions[:_LISTED])
    if len(wish.actions) > _LISTED:
        listed += f" and {len(wish.actions) - _LISTED} more"
    end = (
        "closing it early revokes all sessions of the role"
        if options.revoke
        else "closing it early makes the sidecar forget it, and AWS takes the keys until then"
    )
    return (
        f"Exposed: keys of the role {options.role_name} (account {options.account}) for {listed}. "
        "To: all code in this kernel, and whomever it gives them to. "
        f"Until: {expires.astimezone(UTC):%H:%M:%S} UTC ({minutes} minutes); {end}."
    )


def closed_sentence(session: Session, options: SessionOptions, *, revoked: bool) -> str:
    """What has ended, and what hasn't."""
    if revoked:
        return (
            f"The session is closed and revoked: AWS refuses the keys of all sessions of "
            f"{options.role_name} that began before now."
        )
    end = f"{session.keys.expires:%H:%M:%S} UTC" if session.keys.expires else "they end"
    failed = " (revoking it failed; the sidecar's log says why)" if options.revoke else ""
    return (
        f"The session is closed: the sidecar has forgotten it{failed}. "
        f"AWS takes its keys until {end}, from wherever they are used."
    )
