"""botocore sessions of the vault's own: a person's AWS profile or given keys, with bounds.

What botocore would take from the environment and from ``~`` is given to it here, since the sidecar
has neither.  Every request has a timeout, every answer a largest size, and none goes over a network
in clear.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleProvider,
    CanonicalNameCredentialSourcer,
    ContainerProvider,
    CredentialResolver,
    InstanceMetadataProvider,
    ProcessProvider,
    ProfileProviderBuilder,
)
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, ProfileNotFound
from botocore.httpsession import URLLib3Session
from botocore.session import Session
from botocore.utils import InstanceMetadataFetcher, JSONFileCache

from keyless_sidecar.vault.answers import MAX_ANSWER
from keyless_sidecar.vault.kinds import VaultError
from keyless_sidecar.vault.program import run_program
from keyless_sidecar.vault.surroundings import Surroundings, require_secure

__all__ = ["AWS_TIMEOUT", "keys_session", "make_client", "profile_session", "said"]

#: Seconds for one fetch from AWS, retries included.
AWS_TIMEOUT = 15.0
_CONNECT, _READ = 5.0, 8.0
_PROCESS_TIMEOUT = 10.0
_DEFAULT_REGION = "us-east-1"


def profile_session(name: str, profile: str, surroundings: Surroundings) -> Session:
    """A session that takes its credentials as botocore's chain has it for one profile.

    Static keys, roles (``source_profile``, ``credential_source``, web identity), SSO and login
    tokens that ``aws sso login`` left, and ``credential_process``.  A profile without any is an
    error: the credentials of the machine are nobody's second choice.

    Args:
        name: the entry, for errors.
        profile: its name in the AWS configuration.

    Raises:
        VaultError: the configuration can't be trusted or read, or has no such profile.
    """
    folder = surroundings.aws()
    for file in ("config", "credentials"):
        surroundings.require_trusted(name, folder / file)
    session = Session(profile=profile)
    _prepare(session, name, surroundings, folder)
    try:
        profiles = session.full_config["profiles"]
    except BotoCoreError as error:
        raise VaultError(f"{name}: the AWS configuration can't be read: {said(error)}") from None
    if profile not in profiles:
        raise VaultError(f"{name}: there is no AWS profile {profile} in {folder}")
    session.register_component(
        "credential_provider", _resolver(session, name, profile, surroundings, folder)
    )
    return session


def keys_session(name: str, fields: Mapping[str, str], surroundings: Surroundings) -> Session:
    """A session with the keys of an entry of kind ``aws``."""
    session = Session()
    _prepare(session, name, surroundings, Path("/nonexistent"))
    session.set_credentials(
        fields["access_key_id"], fields["secret_access_key"], fields.get("session_token")
    )
    if region := fields.get("region"):
        session.set_config_variable("region", region)
    return session


def make_client(session: Session, name: str, service: str, region: str = "") -> Any:
    """A client for a service.

    Raises:
        VaultError: the session's profile has no region and none is given, or can't be used.
    """
    try:
        region = region or session.get_config_variable("region") or ""
        if not region:
            raise VaultError(f"{name}: name the region, here or in the AWS profile")
        return session.create_client(service, region_name=region)
    except (BotoCoreError, ValueError) as error:
        raise VaultError(f"{name}: AWS can't be asked: {said(error)}") from None


def said(error: Exception) -> str:
    """What an error of botocore may tell: its code or its type.

    Messages of AWS may quote a request, and those of a ``credential_process`` whatever it printed.
    """
    if isinstance(error, ClientError):
        problem = error.response.get("Error", {}).get("Code", "")
        code = problem if isinstance(problem, str) and problem.isidentifier() else "refused"
        return f"{error.operation_name} was answered with {code}"
    if isinstance(error, ProfileNotFound):
        return "a profile that it names doesn't exist"
    return type(error).__name__


# ---------------------------------------------------------------------- the session's parts


def _prepare(session: Session, name: str, surroundings: Surroundings, folder: Path) -> None:
    session.set_config_variable("config_file", str(folder / "config"))
    session.set_config_variable("credentials_file", str(folder / "credentials"))
    session.set_default_client_config(
        Config(
            connect_timeout=_CONNECT,
            read_timeout=_READ,
            retries={"total_max_attempts": 2, "mode": "standard"},
        )
    )
    session.register("before-send", _Bounded(session))
    create = session.create_client

    def create_client(service_name: str, *arguments: Any, **options: Any) -> Any:
        # Every client of the session comes by here, also those of the credential chain.
        if len(arguments) == 0 and not options.get("region_name"):
            options["region_name"] = session.get_config_variable("region") or _DEFAULT_REGION
        client = create(service_name, *arguments, **options)
        upstream = surroundings.upstream(urlsplit(client.meta.endpoint_url).hostname or "")
        if upstream:
            client.close()
            client = create(service_name, *arguments, **{**options, "endpoint_url": upstream})
        try:
            require_secure(name, client.meta.endpoint_url)
        except VaultError:
            client.close()
            raise
        return client

    session.create_client = create_client


def _resolver(
    session: Session, name: str, profile: str, surroundings: Surroundings, folder: Path
) -> CredentialResolver:
    """botocore's own providers in its own order, without environment and machine credentials."""
    cache: dict[str, Any] = {}
    builder = ProfileProviderBuilder(
        session,
        cache=cache,
        sso_token_cache=JSONFileCache(str(folder / "sso" / "cache")),
        login_token_cache=JSONFileCache(str(folder / "login" / "cache")),
    )

    def popen(argv: list[str], **_: Any) -> _Process:
        return _Process(name, argv, surroundings)

    # Also called by the role provider, for source profiles.
    builder._create_process_provider = lambda which: ProcessProvider(
        which, lambda: session.full_config, popen
    )

    def client_creator(service_name: str, **options: Any) -> Any:
        return session.create_client(service_name, **options)

    sources = [ContainerProvider(), InstanceMetadataProvider(InstanceMetadataFetcher(timeout=1))]
    role = AssumeRoleProvider(
        load_config=lambda: session.full_config,
        client_creator=client_creator,
        cache=cache,
        profile_name=profile,
        credential_sourcer=CanonicalNameCredentialSourcer(sources),
        profile_provider_builder=builder,
    )
    return CredentialResolver([role, *builder.providers(profile, disable_env_vars=True)])


class _Process:
    """What botocore's process provider needs of ``subprocess.Popen``."""

    def __init__(self, name: str, argv: list[str], surroundings: Surroundings) -> None:
        if not argv or not argv[0].startswith("/"):
            raise VaultError(f"{name}: credential_process must start with an absolute path")
        self._run = name, argv, surroundings
        self.returncode = 0

    def communicate(self) -> tuple[bytes, bytes]:
        """Run it."""
        return run_program(*self._run, timeout=_PROCESS_TIMEOUT), b""


class _Bounded:
    """Sends a request itself, so that no more than :data:`MAX_ANSWER` bytes are read."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._http: URLLib3Session | None = None

    def __call__(self, request: Any, **_: Any) -> AWSResponse:
        if self._http is None:
            self._http = URLLib3Session(
                verify=self._session.get_config_variable("ca_bundle") or True,
                timeout=(_CONNECT, _READ),
            )
        request.stream_output = True
        response = self._http.send(request)
        try:
            body = response.raw.read(MAX_ANSWER + 1, decode_content=True)
        except Exception as error:  # noqa: BLE001 - whatever urllib3 raises while it reads
            raise HTTPClientError(error=type(error).__name__) from None
        finally:
            response.raw.close()
        if len(body) > MAX_ANSWER:
            raise HTTPClientError(error="the answer is too large")
        return AWSResponse(response.url, response.status_code, response.headers, _Raw(body))


class _Raw:
    """A body that was read."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> list[bytes]:
        """All of it."""
        return [self._body]
