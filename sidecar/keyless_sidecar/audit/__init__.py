"""The audit: every request, decision and result on disk, in a chain that shows edits."""

from keyless_sidecar.audit.log import AuditLog, AuditUnavailable
from keyless_sidecar.audit.reading import Report, files, read, verify, verify_folder

__all__ = ["AuditLog", "AuditUnavailable", "Report", "files", "read", "verify", "verify_folder"]
