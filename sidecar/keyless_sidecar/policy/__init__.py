"""The policy: which acts go ahead, which a person must approve, and which never happen.

Light by itself; the engine (`policy.engine`, `policy.loading`) and the makers of acts
(`policy.acts_from`, `policy.acts_from_command`) are imported where they are used.
"""

from keyless_sidecar.policy.acts import KERNEL, Act, Decision, Outcome, Policy

__all__ = ["KERNEL", "Act", "Decision", "Outcome", "Policy"]
