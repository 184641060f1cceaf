"""Policies for tests that are about something else."""

from __future__ import annotations

from pathlib import Path

#: Everything that hands out no secret and lets nobody in; what other tests than the policy's need.
LENIENT = """
@id("everything")
permit (principal, action, resource);

@id("no-secrets")
@reason("Its answer holds secrets, or it changes who may do what.")
forbid (principal, action, resource)
when { context.exposure != "" && !context.allow_listed };
"""
#: The same, but a person is asked about one command of the leaking tools.
ASKS_ONCE = (
    LENIENT
    + """
@id("careful")
@outcome("ask")
@reason("It changes something.")
permit (principal, action, resource)
when { context has argv_text && context.argv_text like "argv approve-me*" };
"""
)
#: Everything at all, for attacks that no policy is to stop.
OPEN = '@id("everything") permit (principal, action, resource);\n'


def write_policy(path: Path, text: str = LENIENT) -> Path:
    """Put a policy in force for the kernels and sidecars that read ``path``."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path
