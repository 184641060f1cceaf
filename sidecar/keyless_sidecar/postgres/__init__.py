"""PostgreSQL without a password on the client's side: the broker, and what leads tools to it.

Most sidecars have no database: what isn't :mod:`keyless_sidecar.postgres.environment` is loaded
for the first one (4 MB).
"""
