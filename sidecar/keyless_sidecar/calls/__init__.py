"""Calls of AWS's operations that the sidecar makes itself: ``secure_call``, delivery ``broker``.

:mod:`keyless_sidecar.calls.runner` serves a ``Call``: it is planned and decided (`planning`), and
made by botocore in a worker thread (`calling`).  What botocore would send goes through the handler
that the egress proxy has for AWS (`outlet`, `bridge`), so that endpoints, signatures, captured
credentials and audit are the same as for requests that come by the proxy.
"""
