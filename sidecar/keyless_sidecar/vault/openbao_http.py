"""``hvac`` clients with bounds: no redirects, no environment, TLS verified, small answers only."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keyless_sidecar.vault.answers import MAX_ANSWER
from keyless_sidecar.vault.kinds import VaultError
from keyless_sidecar.vault.optional import load_optional
from keyless_sidecar.vault.source_settings import OpenBao
from keyless_sidecar.vault.surroundings import Surroundings, require_secure

__all__ = ["BAO_TIMEOUT", "Refused", "connected"]

#: Seconds for everything that one fetch asks.
BAO_TIMEOUT = 10.0
_REQUEST = 5.0


class Refused(VaultError):
    """The server doesn't accept the token, or doesn't let it do this."""


@contextlib.contextmanager
def connected(
    name: str, settings: OpenBao, token: str, surroundings: Surroundings
) -> Iterator[Any]:
    """An ``hvac.Client`` for as long as the block; what goes wrong in it becomes ours.

    Args:
        name: the entry, for errors.
        token: empty for a log-in.

    Raises:
        Refused: the server says no.
        VaultError: the server can't be asked, or answers something else.
    """
    hvac = load_optional("hvac", "openbao")
    requests = load_optional("requests", "openbao")
    require_secure(name, settings.address)
    if settings.ca_file:
        surroundings.require_trusted(name, Path(settings.ca_file))
    session = requests.Session()
    # No proxies, no .netrc and no certificates that the environment names.
    session.trust_env = False
    # Here and not only below: hvac lets a session's own True win over its argument.
    session.verify = settings.ca_file or True
    session.hooks["response"].append(_bounded)
    try:
        yield hvac.Client(
            url=settings.address,
            token=token,
            verify=session.verify,
            timeout=_REQUEST,
            allow_redirects=False,
            session=session,
            namespace=settings.namespace or None,
        )
    except hvac.exceptions.Forbidden:
        raise Refused(f"{name}: {settings.address} refuses it (permission denied)") from None
    except hvac.exceptions.InvalidPath:
        raise VaultError(
            f"{name}: {settings.address} has nothing at {settings.mount}/{settings.path}"
        ) from None
    except hvac.exceptions.InvalidRequest:
        raise Refused(f"{name}: {settings.address} refuses the request or the log-in") from None
    except hvac.exceptions.VaultError as error:
        raise VaultError(
            f"{name}: {settings.address} answers with an error ({type(error).__name__})"
        ) from None
    except requests.exceptions.SSLError:
        raise VaultError(
            f"{name}: the certificate of {settings.address} can't be verified: ca_file names its "
            "authority"
        ) from None
    except (requests.exceptions.RequestException, OSError) as error:
        raise VaultError(
            f"{name}: {settings.address} can't be reached ({type(error).__name__})"
        ) from None
    finally:
        session.close()


def _bounded(response: Any, **_: Any) -> None:
    """Read the body, up to a limit, before anybody else does."""
    raw = response.raw
    try:
        body = raw.read(MAX_ANSWER + 1, decode_content=True)
    except Exception as error:  # noqa: BLE001 - urllib3's own, which requests doesn't wrap here
        raise VaultError(f"The secret server's answer broke off ({type(error).__name__})") from None
    finally:
        raw.close()
    if len(body) > MAX_ANSWER:
        raise VaultError("The secret server's answer is too large")
    response.raw = io.BytesIO(body)
