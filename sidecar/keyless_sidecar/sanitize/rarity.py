"""Says which pieces of bytes are rare in what tools ordinarily print.

Called by `index`: an automaton that looks for rare pieces only leaves its root seldom. Nothing
depends on it but speed: the estimate is made from the sample below, with a guess for what the
sample doesn't show.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import pairwise

_NUMBER = frozenset(b"0123456789abcdefABCDEF")

_ORDINARY = b"""
2025-03-14T09:41:27.302Z INFO [worker-7] request 48213 took 187 ms, status 200, 1043 bytes
2024-10-09 18:26:53,118 WARNING Retrying connection to service.internal:8443 (attempt 3 of 5)
DEBUG cache miss for user=anna table=orders rows=1520; ERROR: Timeout exceeded, see the log file
{"FunctionName": "resize-images", "Runtime": "python3.12", "MemorySize": 512, "Version": "$LATEST",
"LastModified": "2025-06-02T11:05:39.000+0000", "Role": "arn:aws:iam::123456789012:role/Lambda",
"RequestId": "7d0f43e9-5b1c-4a86-9e27-c3d8120fa64b", "ETag": "d41d8cd98f00b204e9800998ecf8427e",
"ResponseMetadata": {"HTTPStatusCode": 200, "RetryAttempts": 0}, "isTruncated": false, "x": null}
upload: ./build/index.html to s3://my-bucket/site/index.html Completed 256.0 KiB/3.4 MiB (12 MiB/s)
def handle(self, event: dict[str, object], context=None) -> bool:
    for name, value in sorted(event.items()):
        if not isinstance(value, str) or value.startswith("#"):
            raise ValueError(f"unexpected {name!r} in line {number}")  # TODO: check the length
    return len(self._pending) == 0 and self.nextToken is not None
class HttpClient extends BaseClient { private final String userId; public void getObject() {} }
drwxr-xr-x 2 root root 4096 Jan 28 07:15 node_modules/.bin -> ../package.json
Successfully installed requests-2.32.3 urllib3-2.2.1 certifi-2024.7.4; 17 passed, 2 skipped in 6.38s
Compiling serde v1.0.203 (target/debug/deps), Building wheel: 45 of 90, Downloading layer a3ed95caeb
SELECT id, created_at FROM users WHERE quantity > 10 ORDER BY id DESC LIMIT 100; INSERT INTO jobs
The quick way to see which values were changed is to read what the command wrote before it failed.
Every key, zone and queue of the project has an owner who may well give it to someone else.
GET /api/v2/projects/62/issues?page=4 HTTP/1.1 Host: example.com Accept: text/html User-Agent: curl
"""

_GROUPS = (
    b"012345", b"6789", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"etaoinsrhldcu", b"mpfgwybv", b"qzxjk",
)  # fmt: skip
_SYMBOLS = len(_GROUPS)
_CLASS = bytes(next((n for n, g in enumerate(_GROUPS) if c in g), _SYMBOLS) for c in range(256))
_SIZES = (*map(len, _GROUPS), 32)


class Rarity(dict[bytes, float]):
    """How often a pair of bytes stands in a projection of ordinary output; higher is more often."""

    def __init__(self, noise: bytes):
        """`noise`: what the projection leaves out."""
        sample = _ORDINARY.translate(None, noise)
        self._pairs = Counter(pairwise(sample))
        self._classes = Counter(pairwise(sample.translate(_CLASS)))

    def __missing__(self, pair: bytes) -> float:
        first, second = pair
        kinds = _CLASS[first], _CLASS[second]
        spread = self._classes[kinds] / (_SIZES[kinds[0]] * _SIZES[kinds[1]])
        self[pair] = cost = 5 * self._pairs[first, second] + spread
        return cost


@cache
def rarity(noise: bytes) -> Rarity:
    """The estimate for the projection without `noise`."""
    return Rarity(noise)


def anchor(pattern: bytes, rare: Rarity, sizes: tuple[int, int]) -> tuple[int, int]:
    """Where the piece of the pattern begins that is rarest in ordinary text, and its length.

    The first two bytes of the piece count: after others the automaton isn't busy any more.
    `sizes` of a piece, and of one of a pattern of hexadecimal digits only.
    """
    size = min(len(pattern), sizes[_NUMBER.issuperset(pattern)])
    costs = [rare[pattern[at : at + 2]] for at in range(len(pattern) - size + 1)]
    return costs.index(min(costs)), size
