"""PostgreSQL without a password on the client's side: the broker, and what leads tools to it."""

from keyless_sidecar.postgres.broker import PostgresBroker
from keyless_sidecar.postgres.client import PARAMETERS
from keyless_sidecar.postgres.credential import Credential
from keyless_sidecar.postgres.environment import client_environment

__all__ = ["PARAMETERS", "Credential", "PostgresBroker", "client_environment"]
