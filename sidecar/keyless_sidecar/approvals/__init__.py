"""Approvals: a person says yes or no to what the policy doesn't decide alone.

Knows nothing of how a question reaches a person; :mod:`keyless_sidecar.control` carries it.
"""

from keyless_sidecar.approvals.asking import Answer, Approvals, NotPending, Question, QuestionFile
from keyless_sidecar.approvals.scope import Scope

__all__ = ["Answer", "Approvals", "NotPending", "Question", "QuestionFile", "Scope"]
