"""Images in S3 → pictures on disk that every candidate can read at once, with their labels."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.training.data.store import Store
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.classification.samples import Labelled, Samples, arrange
from airflow_automl.local.training.engines.image import pictures, sources
from airflow_automl.local.training.engines.image.pictures import PictureError
from airflow_automl.local.training.engines.image.sources import Source

log = logging.getLogger(__name__)

_DOWNLOADS = 8
_ANY = "image/*"


def opened(path: Path) -> np.ndarray:
    """A picture that :func:`load` has kept."""
    found: np.ndarray = np.load(path, allow_pickle=False)
    return found


def load(run: Run, folder: Path) -> Samples:
    """Read the channels of a job.

    Images that can't be read are left out, and the job says so; it fails if most of them can't.

    :param run: the job.
    :param folder: where the pictures are kept.
    :return: the items are files for :func:`opened`.
    :raises JobFailure: the data break a rule; the message names the object.
    """
    request = run.spec.request
    found: dict[str, Labelled] = {}
    notes: list[str] = []
    for entry in request["AutoMLJobInputDataConfig"]:
        kind = str(entry.get("ChannelType") or "training")
        if kind in found:
            raise JobFailure(f"The request has two {kind} channels: one is enough.")
        found[kind] = _channel(run, entry, kind, folder / kind, notes)
    if "training" not in found:
        raise JobFailure("The request has no training channel: there is nothing to train on.")
    return arrange(found["training"], found.get("validation"), request, "images", notes)


def _channel(run: Run, entry: Mapping[str, Any], kind: str, folder: Path, notes: list[str]) -> Labelled:
    uri = str(entry["DataSource"]["S3DataSource"]["S3Uri"])
    wanted = str(entry.get("ContentType") or _ANY)
    folder.mkdir(parents=True)
    found = sources.find(run.store, entry)
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
    return Labelled([files[position] for position in good], [found[position].label for position in good], uri)


def _keep(store: Store, source: Source, path: Path, wanted: str) -> str | None:
    """Download an image and keep its picture.

    :return: why it can't be used, ``None`` if it can.
    :raises JobFailure: it is not there, or of another content type than the channel.
    """
    raw = path.with_suffix(".raw")
    try:
        store.download(source.object, raw)
        with raw.open("rb") as file:
            kind = pictures.sniff(file.read(16))
        if wanted != _ANY and kind is not None and kind != pictures.FORMATS.get(wanted):
            raise JobFailure(
                f"{source.object.uri} is {kind}, but the channel's ContentType is {wanted}: set it to {_ANY} for both."
            )
        np.save(path, pictures.read(raw))
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
