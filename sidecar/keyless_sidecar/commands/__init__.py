"""The halves of ``jupyter keyless`` that need the privileged package.

``keyless.cli`` starts them in a process of their own: ``python -I -m keyless_sidecar vault …``.
"""
