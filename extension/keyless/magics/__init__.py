"""What runs in the sandboxed kernel: the magics, the function API and the sidecar's client.

Nothing here is trusted: the sidecar checks each request again.  What this package checks, it
checks so that a mistake gets a clear answer.
"""
