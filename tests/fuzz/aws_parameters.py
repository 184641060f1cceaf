"""Random parameters for an AWS operation, made from the shapes of its model."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.model import OperationModel, Shape

__all__ = ["parameters"]

_ODD = "aZ09 -_.~+/%&=?#;:,@!$'()*[]{}|\\^`\"<>\tü漢😀é"
_PLAIN = "abcdefghijklmnopqrstuvwxyz0123456789"
_KEYS = (
    "a/../b", "..", "//", "a//b", "a+b c", "%2F", "~tilde", "ünïcode/漢字", "a b/", "x?acl", "x#y",
    "a&b=c", "😀", "./x", "trailing/", "a%20b", "'quoted'", "(1)", "acl", "*",
)  # fmt: skip
_MAX_DEPTH = 5


def parameters(model: OperationModel, rng: random.Random, express: bool = False) -> dict[str, Any]:
    """Parameters for a call; with ``express`` buckets are S3 Express buckets."""
    shape = model.input_shape
    if shape is None:
        return {}
    fill = rng.choice([0.0, 0.3, 0.3, 0.8])
    safe = {param.member_name for param in model.context_parameters}
    safe |= _in_braces((model.endpoint or {}).get("hostPrefix", ""))
    result = {}
    for name, member in shape.members.items():
        if name not in shape.required_members and rng.random() >= fill:
            continue
        if shape.members[name].serialization.get("eventstream"):
            continue
        result[name] = _member(model, name, member, rng, fill, name in safe)
    if express and "Bucket" in result:
        result["Bucket"] = "bucket--use1-az4--x-s3"
    return _fixed(model, result)


def _member(
    model: OperationModel, name: str, shape: Shape, rng: random.Random, fill: float, safe: bool
) -> Any:
    service = model.service_model.service_name
    place = shape.serialization.get("location")
    if service == "s3" and name == "Bucket":
        return rng.choice(["some-bucket", "a.b.c", "my.bucket", "x" * 40])
    if service == "s3" and name == "Key":
        return rng.choice(_KEYS) if rng.random() < 0.5 else _text(rng, _ODD, 1, 30)
    if name == "AccountId" and safe:
        return f"{rng.randrange(10**12):012}"
    if safe and shape.type_name == "string" and not shape.enum:
        return "x" + _text(rng, _PLAIN, 2, 12)
    if place in ("header", "headers"):
        return _value(shape, rng, fill, 0, odd=_PLAIN + "  /=+.")
    value = _value(shape, rng, fill, 0, odd=_ODD)
    if place != "uri" or not isinstance(value, str):
        return value
    # Dot segments and empty ones are refused outside S3: servers read them in different ways.
    return "/".join(
        f"x{piece}" if piece in ("", ".", "..") else piece for piece in value.split("/")
    )


def _value(shape: Shape, rng: random.Random, fill: float, depth: int, odd: str) -> Any:
    kind = shape.type_name
    if kind == "structure":
        return _structure(shape, rng, fill, depth, odd)
    low = int(shape.metadata.get("min", 0) or 0)
    if kind == "list":
        count = max(low, rng.choice([1, 2]) if depth < _MAX_DEPTH else 0)
        return [_value(shape.member, rng, fill, depth + 1, odd) for _ in range(count)]
    if kind == "map":
        count = max(low, 1 if depth < _MAX_DEPTH else 0)
        return {
            f"k{index}{_text(rng, _PLAIN, 1, 6)}"
            if not shape.key.metadata.get("enum")
            else rng.choice(shape.key.metadata["enum"]): _value(
                shape.value, rng, fill, depth + 1, odd
            )
            for index in range(count)
        }
    return _scalar(shape, rng, low, odd)


def _structure(shape: Shape, rng: random.Random, fill: float, depth: int, odd: str) -> Any:
    if getattr(shape, "is_document_type", False):
        return {"any": [1, "x", True, None]}
    names = list(shape.members)
    if getattr(shape, "is_tagged_union", False) and names:
        names = [rng.choice(names)]
        return {n: _value(shape.members[n], rng, fill, depth + 1, odd) for n in names}
    return {
        name: _value(shape.members[name], rng, fill if depth < _MAX_DEPTH else 0, depth + 1, odd)
        for name in names
        if name in shape.required_members or (depth < _MAX_DEPTH and rng.random() < fill / 2)
    }


def _scalar(shape: Shape, rng: random.Random, low: int, odd: str) -> Any:
    kind = shape.type_name
    high = shape.metadata.get("max")
    if kind == "string":
        if shape.metadata.get("enum"):
            return rng.choice(shape.metadata["enum"])
        return _text(rng, odd, max(low, 1), max(low, 12))
    if kind == "blob":
        return rng.randbytes(rng.randrange(max(low, 1), max(low, 1) + 40))
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "timestamp":
        return datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(10**8))
    top = min(int(high), low + 1000) if high is not None else low + 1000
    if kind in ("integer", "long"):
        return rng.randrange(low, max(top, low) + 1)
    return float(rng.randrange(low, max(top, low) + 1))


def _text(rng: random.Random, alphabet: str, low: int, high: int) -> str:
    text = "".join(rng.choice(alphabet) for _ in range(rng.randint(low, max(low, high))))
    return text.strip() or "x" * max(low, 1)


def _in_braces(template: str) -> set[str]:
    return {part.partition("}")[0] for part in template.split("{")[1:]}


def _fixed(model: OperationModel, made: dict[str, Any]) -> dict[str, Any]:
    """What botocore or the service wants in a form that no shape says."""
    service = model.service_model.service_name
    fixes: Mapping[str, Any] = {
        "CopySource": {"Bucket": "source-bucket", "Key": "a b/ü.txt"},
        "ContentLength": None,
        "ContentMD5": None,
    }
    for name in ("PresignedUrl", "PreSignedUrl"):
        made.pop(name, None)  # botocore makes one, where it belongs
    if "assetSHA256" in made:
        made["assetSHA256"] = hashlib.sha256(made["assetContent"]).hexdigest()
    if service in ("s3", "s3control"):
        for name, value in fixes.items():
            if name in made:
                made[name] = value
        made = {
            name: value
            for name, value in made.items()
            if value is not None
            and not name.startswith("Checksum")
            and "CustomerKey" not in name
            and "SSECustomer" not in name
        }
    return made
