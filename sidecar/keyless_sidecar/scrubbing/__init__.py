"""Finds secrets in notebooks and takes them out: sources, outputs, metadata and attachments."""

from .findings import Finding
from .notebook import scrub_notebook

__all__ = ["Finding", "scrub_notebook"]
