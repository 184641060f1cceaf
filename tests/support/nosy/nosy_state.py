"""What a tool's own packages keep: made once when they are imported, shared by what is forked."""

import random
import secrets
import ssl
import tempfile
import uuid

#: What commands put here, another command must not find.
KEPT: "list[object]" = []
#: Generators in use before any command came.
FIRST = (
    random.random(),
    secrets.token_hex(8),
    ssl.RAND_bytes(8),
    uuid.uuid1(),
    next(tempfile._get_candidate_names()),  # type: ignore[attr-defined]
)
