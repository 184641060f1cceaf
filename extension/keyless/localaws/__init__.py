"""An AWS on this machine for the demo, the tests and Binder: moto behind a strict front."""

from keyless.localaws.front import LoggedCall
from keyless.localaws.server import LocalAws, LocalAwsError

__all__ = ["LocalAws", "LocalAwsError", "LoggedCall"]
