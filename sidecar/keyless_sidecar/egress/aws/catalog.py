"""botocore's service models, as the proxy needs them: quick heads of all, whole ones when used.

Reads model files only, from the folder of the installed botocore or one that is given; neither
``~/.aws/models`` nor ``AWS_DATA_PATH`` count.
"""

from __future__ import annotations

import functools
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader
from botocore.model import ServiceModel

__all__ = ["Catalog", "Head", "catalog"]

_METADATA = re.compile(r'"metadata"\s*:\s*')
_HEAD_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Head:
    """A service model's head.

    Attributes:
        service: name of its folder, ``lambda``.
        protocols: all that it speaks, the preferred one first.
        target: what stands before the dot in ``X-Amz-Target``, or names the service in a CBOR path.
        signing_name: its name in a credential scope.
        signature: ``v4``, ``s3v4``, ``bearer``, …
    """

    service: str
    version: str
    protocols: tuple[str, ...]
    target: str
    prefix: str
    signing_name: str
    signature: str
    query_compatible: bool


class Catalog:
    """The models in a folder.

    Args:
        data_path: the folder; empty for that of the installed botocore.
    """

    def __init__(self, data_path: str = "") -> None:
        self._path = Path(data_path or Path(botocore.__file__).parent / "data")
        self._loader = self._fresh()
        self._models: dict[str, ServiceModel] = {}
        once = self._fresh()  # it remembers where it looked
        self.heads: Mapping[str, Head] = {
            name: self._head(name, once.determine_latest_version(name, "service-2"))
            for name in once.list_available_services("service-2")
        }

    @property
    def loader(self) -> Loader:
        """What reads the models, and keeps what it has read."""
        return self._loader

    def model(self, service: str) -> ServiceModel:
        """A whole model, loaded once."""
        if service not in self._models:
            self._models[service] = ServiceModel(
                self._loader.load_service_model(service, "service-2"), service
            )
        return self._models[service]

    def beside(self, service: str, kind: str) -> Mapping[str, Any]:
        """What stands beside a model (``waiters-2``), loaded once; empty where there is none."""
        try:
            found: Mapping[str, Any] = self._loader.load_service_model(service, kind)
        except BotoCoreError:
            return {}
        return found

    def rules(self, service: str) -> bytes:
        """The text of a service's endpoint rules; those that say nothing where it has none."""
        folders = sorted((self._path / service).iterdir(), reverse=True)
        for place in (folder / "endpoint-rule-set-1" for folder in folders):
            if (found := _text(place)) is not None:
                return found
        return b"{}"

    def text(self, name: str) -> bytes:
        """The text of a file by its path in the folder without ending.

        Raises:
            FileNotFoundError: there is no such file.
        """
        found = _text(self._path / name)
        if found is None:
            raise FileNotFoundError(self._path / name)
        return found

    def data(self, name: str) -> Mapping[str, Any]:
        """A file by its path in the folder without ending: ``partitions``."""
        found: Mapping[str, Any] = self._fresh().load_data(name)
        return found

    def _fresh(self) -> Loader:
        """A loader; it remembers all that it loads, which is too much for what is read once."""
        return Loader(extra_search_paths=[str(self._path)], include_default_search_paths=False)

    def _head(self, service: str, version: str) -> Head:
        data = self._metadata(service, version)
        protocols = tuple(data.get("protocols") or (data["protocol"],))
        return Head(
            service=service,
            version=data["apiVersion"],
            protocols=(data["protocol"], *(p for p in protocols if p != data["protocol"])),
            target=data.get("targetPrefix", ""),
            prefix=data["endpointPrefix"],
            signing_name=data.get("signingName", data["endpointPrefix"]),
            signature=data["signatureVersion"],
            query_compatible="awsQueryCompatible" in data,
        )

    def _metadata(self, service: str, version: str) -> Mapping[str, Any]:
        """The metadata, from the first bytes of the file where that is enough."""
        text = self._beginning(self._path / service / version)
        found = _METADATA.search(text)
        if found:
            try:
                metadata: Mapping[str, Any] = json.JSONDecoder().raw_decode(text, found.end())[0]
            except json.JSONDecodeError:
                return self._whole_metadata(service)
            if "apiVersion" in metadata:
                return metadata
        return self._whole_metadata(service)

    def _beginning(self, folder: Path) -> str:
        """The first part of a model, which the AWS CLI keeps plain and botocore packed."""
        packed, plain = folder / "service-2.json.gz", folder / "service-2.json"
        if packed.exists():
            with packed.open("rb") as file:
                start = zlib.decompressobj(31).decompress(file.read(_HEAD_BYTES), _HEAD_BYTES)
        elif plain.exists():
            with plain.open("rb") as file:
                start = file.read(_HEAD_BYTES)
        else:
            start = b""
        return start.decode("utf-8", "ignore")

    def _whole_metadata(self, service: str) -> Mapping[str, Any]:
        whole: Mapping[str, Any] = self._fresh().load_service_model(service, "service-2")
        metadata: Mapping[str, Any] = whole["metadata"]
        return metadata


def _text(place: Path) -> bytes | None:
    """A file's text, plain or packed; None where there is none."""
    plain, packed = place.with_name(f"{place.name}.json"), place.with_name(f"{place.name}.json.gz")
    if plain.exists():
        return plain.read_bytes()
    return zlib.decompress(packed.read_bytes(), 31) if packed.exists() else None


@functools.cache
def catalog(data_path: str = "") -> Catalog:
    """The models in a folder, read once."""
    return Catalog(data_path)
