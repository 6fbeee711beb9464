"""The channels of an ImageClassification job: finds the images in S3 and decodes them to files of one size."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.storage.client import parse_uri
from airflow_automl.local.training.data.channels import by_kind
from airflow_automl.local.training.data.store import S3Object, Store
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.classification.approach import Labelled, Samples, arrange
from airflow_automl.local.training.engines.image import pictures
from airflow_automl.local.training.engines.image.pictures import PictureError

log = logging.getLogger(__name__)

_NO_PICTURES = frozenset({"thumbs.db", "desktop.ini"})
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_METADATA = "-metadata"
_RECORD = '{"source-ref": "s3://bucket/key", "label-metadata": {"class-name": "cat"}}'


@dataclass(frozen=True)
class Source:
    """One image.

    :param object: its address.
    :param label: its class.
    """

    object: S3Object
    label: str


def find(store: Store, entry: Mapping[str, Any]) -> list[Source]:
    """Return the images of a channel.

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
    """Find images in one folder for each class, at any depth (R20)."""
    bucket, prefix = parse_uri(uri)
    # Without the slash, the prefix "cats" would include "cats-old".
    folder = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
    for entry in store.objects(f"s3://{bucket}/{folder}"):
        relative = entry.key[len(folder) :]
        path = PurePosixPath(relative)
        name, pictured = path.name, path.suffix.lower() in _SUFFIXES
        hidden = any(part.startswith(".") for part in path.parts)
        # Cameras write names such as _DSC0001.JPG.
        marker = name.lower() in _NO_PICTURES or (name.startswith("_") and not pictured)
        if entry.key.endswith("/") or hidden or marker:
            continue
        label, slash, _ = relative.partition("/")
        if slash:
            yield Source(entry, label)
        elif pictured:
            raise JobFailure(
                f"{entry.uri} is in no folder of a class: the images of each class belong in a folder of their own "
                f"below {uri}, or name an AugmentedManifestFile that has their labels."
            )


def _manifest(store: Store, uri: str) -> Iterator[Source]:
    """Read a ManifestFile: the label is the folder below the prefix, or the prefix's own last folder (R21)."""
    prefix, keys = store.manifest(uri)
    bucket, start = parse_uri(prefix)
    last = start.rstrip("/").rpartition("/")[2]
    for key in keys:
        label = key.partition("/")[0] if "/" in key else last
        if not label:
            raise JobFailure(f"The manifest {uri} lists '{key}', which is in no folder that could name its class.")
        yield Source(S3Object(bucket, start + key), label)


def _augmented(store: Store, uri: str) -> Iterator[Source]:
    """Read an AugmentedManifestFile: JSON lines with the image's address and its class (R22)."""
    # Not splitlines(): strings in JSON may hold the line separators of Unicode.
    for number, line in enumerate(store.read_text(uri, "augmented manifest").split("\n"), 1):
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


_DOWNLOADS = 8
_ANY = "image/*"


def opened(path: Path) -> np.ndarray:
    """Return a picture that :func:`load` has kept."""
    found: np.ndarray = np.load(path, allow_pickle=False)
    return found


def load(run: Run, folder: Path) -> Samples:
    """Read the channels of a job.

    Images that can't be read are left out, and the job says so; it fails if most of them can't.

    :return: the items are files for :func:`opened`.
    :raises JobFailure: the data break a rule; the message names the object.
    """
    request, notes = run.spec.request, list[str]()
    found = {
        kind: _channel(run, entry, kind, folder / kind, notes)
        for kind, entry in by_kind(request["AutoMLJobInputDataConfig"]).items()
    }
    bits = _coloured({kind: each.items for kind, each in found.items()})
    return replace(arrange(found["training"], found.get("validation"), request, "images", notes), bits=bits)


def _coloured(found: Mapping[str, Sequence[Path]]) -> int:
    """Give pictures with 16 bits of grey their colours; return how many of the bits those of the training use."""
    grey = {kind: [path for path in files if opened(path).ndim == 2] for kind, files in found.items()}
    bits = pictures.bits_used(max((int(opened(path).max()) for path in grey["training"]), default=2**16 - 1))
    for path in itertools.chain(*grey.values()):
        np.save(path, pictures.coloured(opened(path), bits))
    return bits


def _channel(run: Run, entry: Mapping[str, Any], kind: str, folder: Path, notes: list[str]) -> Labelled:
    uri = str(entry["DataSource"]["S3DataSource"]["S3Uri"])
    wanted = str(entry.get("ContentType") or _ANY)
    folder.mkdir(parents=True)
    found = find(run.store, entry)
    log.info("%d %s images at %s", len(found), kind, uri)
    files = [folder / f"{position:07d}.npy" for position in range(len(found))]
    with ThreadPoolExecutor(_DOWNLOADS, "image") as pool:
        waiting = [pool.submit(_keep, run.store, *each, wanted) for each in zip(found, files, strict=True)]
        try:
            kept = [each.result() for each in waiting]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    good = [position for position, reason in enumerate(kept) if reason is None]
    broken = [(found[position], reason) for position, reason in enumerate(kept) if reason is not None]
    if broken:
        _tell(run, kind, uri, found, broken, notes)
    items, labels = [files[position] for position in good], [found[position].label for position in good]
    return Labelled(items, labels, uri, [hashlib.sha256(path.read_bytes()).digest() for path in items])


def _keep(store: Store, source: Source, path: Path, wanted: str) -> str | None:
    """Download an image and store its picture; return why it can't be used, ``None`` if it can."""
    raw = path.with_suffix(".raw")
    try:
        store.download(source.object, raw)
        with raw.open("rb") as file:
            kind = pictures.sniff(file.read(16))
        if wanted != _ANY and kind is not None and kind != pictures.FORMATS.get(wanted):
            raise JobFailure(
                f"{source.object.uri} is {kind}, but the channel's ContentType is {wanted}: set it to {_ANY} for both."
            )
        np.save(path, pictures.squared(raw))
    except PictureError as error:
        return str(error)
    except OSError as error:
        raise JobFailure(f"{source.object.uri} could not be kept on disk: {error.strerror or error}.") from error
    finally:
        raw.unlink(missing_ok=True)
    return None


def _tell(
    run: Run,
    kind: str,
    uri: str,
    found: Sequence[Source],
    broken: Sequence[tuple[Source, str]],
    notes: list[str],
) -> None:
    examples = "; ".join(f"{source.object.uri}: {reason}" for source, reason in broken[:3])
    message = f"{len(broken)} of {len(found)} {kind} images can't be read ({examples})"
    if 2 * len(broken) > len(found):
        raise JobFailure(f"{message}. At least half of the images at {uri} must be PNG or JPEG files.")
    lost = Counter(source.label for source in found)
    lost.subtract(Counter(source.label for source, _ in broken))
    gone = sorted(label for label, count in lost.items() if count == 0)
    message += f", and nothing is left of the class {listing(gone, 3)}" if gone else ""
    message += "; they were left out."
    notes.append(message)
    log.warning("%s", message)
    run.events.partial_failure(message, "Candidate")
