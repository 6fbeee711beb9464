"""The channels of an ImageClassification job → the addresses of images, with their labels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.storage.client import parse_uri
from airflow_automl.local.training.data.store import S3Object, Store

_NO_PICTURES = frozenset({"thumbs.db", "desktop.ini"})
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_METADATA = "-metadata"
_MANIFEST = 'a list that starts with {"prefix": "s3://bucket/folder/"} and goes on with keys below it'
_RECORD = '{"source-ref": "s3://bucket/key", "label-metadata": {"class-name": "cat"}}'


@dataclass(frozen=True)
class Source:
    """One image.

    :param object: where it lies.
    :param label: its class.
    """

    object: S3Object
    label: str


def find(store: Store, entry: Mapping[str, Any]) -> list[Source]:
    """The images of a channel.

    :param store: where they lie.
    :param entry: the channel, of AutoMLJobInputDataConfig.
    :raises JobFailure: there are none, or the manifest can't be used (R21, R22).
    """
    source = entry["DataSource"]["S3DataSource"]
    uri, kind = str(source["S3Uri"]), source.get("S3DataType")
    readers = {"ManifestFile": _manifest, "AugmentedManifestFile": _augmented}
    found = list(readers.get(str(kind), _folders)(store, uri))
    if not found:
        raise JobFailure(f"There is no image at {uri}: each class needs a folder there with its images.")
    return found


def _folders(store: Store, uri: str) -> Iterator[Source]:
    """A folder for each class, whatever else lies deeper (R20)."""
    bucket, prefix = parse_uri(uri)
    # A prefix without its slash would take the images of "cats-old" for those of a class of "cats".
    folder = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
    for entry in store.objects(f"s3://{bucket}/{folder}"):
        relative = entry.key[len(folder) :]
        name = PurePosixPath(relative).name
        if entry.key.endswith("/") or name.startswith((".", "_")) or name.lower() in _NO_PICTURES:
            continue
        label, slash, _ = relative.partition("/")
        if slash:
            yield Source(entry, label)
        elif PurePosixPath(name).suffix.lower() in _SUFFIXES:
            raise JobFailure(
                f"{entry.uri} lies in no folder of a class: the images of each class belong in a folder of their own "
                f"below {uri}, or name an AugmentedManifestFile that has their labels."
            )


def _manifest(store: Store, uri: str) -> Iterator[Source]:
    """A ManifestFile: the label is the folder below the prefix, or the prefix's own last folder (R21)."""
    entries = store.read_json(uri, "manifest")
    prefix = (
        entries[0].get("prefix") if isinstance(entries, list) and entries and isinstance(entries[0], dict) else None
    )
    if not isinstance(prefix, str) or not all(isinstance(key, str) for key in entries[1:]):
        raise JobFailure(f"The manifest {uri} must be {_MANIFEST}.")
    if len(entries) == 1:
        raise JobFailure(f"The manifest {uri} lists no objects after its prefix.")
    bucket, start = parse_uri(prefix)
    last = start.rstrip("/").rpartition("/")[2]
    for key in entries[1:]:
        label = key.partition("/")[0] if "/" in key else last
        if not label:
            raise JobFailure(f"The manifest {uri} lists '{key}', which lies in no folder that could name its class.")
        yield Source(S3Object(bucket, start + key), label)


def _augmented(store: Store, uri: str) -> Iterator[Source]:
    """An AugmentedManifestFile: JSON lines with the image's address and its class (R22)."""
    for number, line in enumerate(store.read_text(uri, "augmented manifest").splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise JobFailure(f"Line {number} of {uri} is not JSON: {error}.") from error
        if not isinstance(record, dict) or not isinstance(record.get("source-ref"), str):
            raise JobFailure(f"Line {number} of {uri} has no source-ref; a record looks like {_RECORD}.")
        names = {
            key: value["class-name"]
            for key, value in record.items()
            if key.endswith(_METADATA) and isinstance(value, dict) and isinstance(value.get("class-name"), str)
        }
        if not names:
            raise JobFailure(f"Line {number} of {uri} has no class-name; a record looks like {_RECORD}.")
        if len(set(names.values())) > 1:
            raise JobFailure(f"Line {number} of {uri} has several classes, in {listing(names)}: one is possible.")
        bucket, key = parse_uri(record["source-ref"])
        yield Source(S3Object(bucket, key), next(iter(names.values())))
