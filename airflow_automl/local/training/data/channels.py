"""The channels of a request: which objects they mean, and the table that these make."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from airflow_automl.local.training.data import sniff, table
from airflow_automl.local.training.data.failures import JobFailure
from airflow_automl.local.training.data.store import S3Object, Store

__all__ = ["PARQUET", "Channel", "Channels", "resolve"]

CSV = "text/csv;header=present"
PARQUET = "x-application/vnd.amazon+parquet"

_GIB = 1 << 30
_LIMITS = {"training": 100 * _GIB, "validation": 2 * _GIB}
"""Bytes that a channel must stay below (R15)."""


@dataclass(frozen=True)
class Channel:
    """One channel with the objects it means.

    :param kind: ``training`` or ``validation``.
    :param uri: the S3Uri of the request.
    :param content_type: CSV or Parquet.
    :param gzip: whether the objects are gzip-compressed.
    :param objects: what is read, in key order.
    """

    kind: str
    uri: str
    content_type: str
    gzip: bool
    objects: tuple[S3Object, ...]

    @property
    def size(self) -> int:
        """Bytes in S3."""
        return sum(entry.size for entry in self.objects)

    def download(self, store: Store, folder: Path) -> list[tuple[Path, str]]:
        """Download the objects, and unpack those that are compressed.

        :param folder: where to; made. Whoever calls this removes it.
        :return: each file with the address of its object.
        :raises JobFailure: an object can't be read.
        """
        folder.mkdir(parents=True, exist_ok=True)
        files: list[tuple[Path, str]] = []
        for number, source in enumerate(self.objects):
            path = folder / f"{number:06d}"
            store.download(source, path)
            files.append((sniff.decompress(path, source.uri) if self.gzip else path, source.uri))
        return files

    def read(self, store: Store, folder: Path, header: list[str] | None = None) -> pa.Table:
        """Download the objects and read them into one table; CSV columns are strings.

        :param folder: where downloads go; made, and removed again.
        :param header: the columns that the data must have.
        :raises JobFailure: an object can't be read, or its content breaks a rule.
        """
        try:
            files = self.download(store, folder)
            reader = table.read_parquet if self.content_type == PARQUET else table.read_csv
            rows = reader(files, header)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self.require_rows(rows)
        return rows

    def require_rows(self, rows: pa.Table) -> None:
        """Refuse data without any row.

        :raises JobFailure: the channel has none.
        """
        if rows.num_rows == 0:
            raise JobFailure(f"The {self.kind} data at {self.uri} has a header and no rows.")


@dataclass(frozen=True)
class Channels:
    """The channels of a job.

    :param training: what is trained on.
    :param validation: what candidates are measured on; ``None`` when a part of the training data is.
    """

    training: Channel
    validation: Channel | None


def resolve(store: Store, inputs: Sequence[Mapping[str, Any]]) -> Channels:
    """Find the objects of every channel.

    :param store: where they lie.
    :param inputs: AutoMLJobInputDataConfig of the request.
    :raises JobFailure: there is no training channel, or two of a kind (R10), or a channel has no data.
    """
    found: dict[str, Channel] = {}
    for entry in inputs:
        kind = str(entry.get("ChannelType") or "training")
        if kind in found:
            raise JobFailure(f"The request has two {kind} channels: one is enough.")
        found[kind] = _channel(store, kind, entry)
    if "training" not in found:
        raise JobFailure("The request has no training channel: there is nothing to train on.")
    return Channels(found["training"], found.get("validation"))


def _channel(store: Store, kind: str, entry: Mapping[str, Any]) -> Channel:
    source = entry["DataSource"]["S3DataSource"]
    uri = str(source["S3Uri"])
    if source.get("S3DataType") == "ManifestFile":
        objects = _manifest(store, uri)
    else:
        objects = [entry for entry in store.objects(uri) if not _is_marker(entry)]
        if not objects:
            raise JobFailure(f"There is no object under {uri} ({kind} channel).")
    channel = Channel(
        kind=kind,
        uri=uri,
        content_type=str(entry.get("ContentType") or CSV),
        gzip=entry.get("CompressionType") == "Gzip",
        objects=tuple(objects),
    )
    empty = [entry.uri for entry in objects if entry.size == 0]
    if empty:
        raise JobFailure(f"{empty[0]} is empty ({kind} channel).")
    if channel.size >= _LIMITS[kind]:
        size, limit = channel.size / _GIB, _LIMITS[kind] // _GIB
        raise JobFailure(f"The {kind} data at {uri} has {size:.1f} GiB; it must have less than {limit}.")
    return channel


def _is_marker(entry: S3Object) -> bool:
    """Folders made in a console, and the flags that Spark and others leave: no data, and no mistake either."""
    name = PurePosixPath(entry.key).name
    return entry.key.endswith("/") or (entry.size == 0 and name.startswith(("_", ".")))


def _manifest(store: Store, uri: str) -> list[S3Object]:
    """The objects that a ManifestFile lists (R21)."""
    entries = store.read_json(uri, "manifest")
    shape = 'a list that starts with {"prefix": "s3://bucket/folder/"} and goes on with keys below it'
    if not isinstance(entries, list) or not entries:
        raise JobFailure(f"The manifest {uri} must be {shape}.")
    head, keys = entries[0], entries[1:]
    prefix = head.get("prefix") if isinstance(head, dict) else None
    if not isinstance(prefix, str) or not all(isinstance(key, str) for key in keys):
        raise JobFailure(f"The manifest {uri} must be {shape}.")
    if not keys:
        raise JobFailure(f"The manifest {uri} lists no objects after its prefix.")
    return [store.head(prefix + key) for key in keys]
