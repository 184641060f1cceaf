"""Runs one declared tool in an isolated child.

``runner`` is the way in (one request's life), ``planning`` decides, ``recording`` keeps the records
and words the answers; ``command`` does the run itself with ``child`` (sandbox and gate), ``watch``
and ``streams`` (output, limits), ``egress`` (network) and ``outputs`` (files).
"""
