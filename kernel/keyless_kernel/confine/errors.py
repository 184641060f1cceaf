"""Why a confinement or a configuration can't be had."""

from __future__ import annotations


class ConfinementUnavailable(RuntimeError):
    """No isolation as strong as asked for; the message says what is missing and how to get it."""


class ConfigError(RuntimeError):
    """A configuration file doesn't parse or names what doesn't exist; nothing may start."""
