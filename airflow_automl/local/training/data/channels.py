"""The channels of a request: which objects they mean, and the table that these make."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.storage.client import parse_uri
from airflow_automl.local.training.data import sniff, table, typed
from airflow_automl.local.training.data.columns import same_columns
from airflow_automl.local.training.data.store import S3Object, Store

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

        :param folder: where to; created. The caller removes it.
        :return: each file with the address of its object.
        :raises JobFailure: an object can't be read.
        """
        folder.mkdir(parents=True, exist_ok=True)
        files: list[tuple[Path, str]] = []
        # R15 counts compressed bytes; a small object can unpack to any size.
        room = _LIMITS[self.kind]
        for number, source in enumerate(self.objects):
            path = folder / f"{number:06d}"
            store.download(source, path)
            if self.gzip:
                path = sniff.decompress(path, source.uri, room)
                room -= path.stat().st_size
            files.append((path, source.uri))
        # Parts with blank lines only, such as empty partitions.
        return [file for file in files if not sniff.is_blank(file[0])] or files

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
    :param notes: which objects are left out.
    """

    training: Channel
    validation: Channel | None
    notes: tuple[str, ...] = ()

    @property
    def given(self) -> list[Channel]:
        """The channels that there are, training first."""
        return [channel for channel in (self.training, self.validation) if channel is not None]


def read(
    store: Store, given: Sequence[Channel], folder: Path, notes: list[str], strings: bool = False
) -> list[pa.Table]:
    """Download and read channels, whose columns are judged over all of them.

    :param store: the store of the objects.
    :param given: the channels; all have the columns of the first one.
    :param folder: where downloads go; made, and removed again.
    :param notes: gets what a person should know about the objects.
    :param strings: leave all columns of CSV as they are written.
    :return: a table for each channel.
    :raises JobFailure: an object can't be read, or its content breaks a rule.
    """
    try:
        files = {channel.kind: channel.download(store, folder / channel.kind) for channel in given}
        csv = [channel.kind for channel in given if channel.content_type != PARQUET]
        found = dict(zip(csv, typed.read([files[kind] for kind in csv], notes, strings=strings), strict=True))
        for channel in given:
            if channel.content_type == PARQUET:
                found[channel.kind] = table.read_parquet(files[channel.kind])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    tables = [found[channel.kind] for channel in given]
    for channel, rows in zip(given, tables, strict=True):
        channel.require_rows(rows)
        same_columns(rows.column_names, tables[0].column_names, channel.uri, "the training data")
    return tables


def resolve(store: Store, inputs: Sequence[Mapping[str, Any]]) -> Channels:
    """Find the objects of every channel.

    :param store: their location.
    :param inputs: AutoMLJobInputDataConfig of the request.
    :raises JobFailure: there is no training channel, or two of a kind (R10), or a channel has no data.
    """
    notes: list[str] = []
    found = {kind: _channel(store, kind, entry, notes) for kind, entry in by_kind(inputs).items()}
    return Channels(found["training"], found.get("validation"), tuple(notes))


def by_kind(inputs: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the channels of a request by their ChannelType.

    :param inputs: AutoMLJobInputDataConfig of the request.
    :raises JobFailure: there is no training channel, or two of a kind (R10).
    """
    found: dict[str, Mapping[str, Any]] = {}
    for entry in inputs:
        kind = str(entry.get("ChannelType") or "training")
        if kind in found:
            raise JobFailure(f"The request has two {kind} channels: one is enough.")
        found[kind] = entry
    if "training" not in found:
        raise JobFailure("The request has no training channel: there is nothing to train on.")
    return found


def _channel(store: Store, kind: str, entry: Mapping[str, Any], notes: list[str]) -> Channel:
    source = entry["DataSource"]["S3DataSource"]
    uri = str(source["S3Uri"])
    if source.get("S3DataType") == "ManifestFile":
        prefix, keys = store.manifest(uri)
        objects = [store.head(prefix + key) for key in keys]
    else:
        objects = [entry for entry in store.objects(uri) if not entry.key.endswith("/")]
        if not objects:
            raise JobFailure(f"There is no object under {uri} ({kind} channel).")
        objects = _without_markers(objects, uri, kind, notes)
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


def _without_markers(objects: list[S3Object], uri: str, kind: str, notes: list[str]) -> list[S3Object]:
    """Drop marker files of Spark and others, hidden folders, and empty parts; a single object is always used."""
    if len(objects) == 1:
        return objects
    folder, _, named = parse_uri(uri)[1].rpartition("/")

    def counts(entry: S3Object) -> bool:
        # What the request names is not hidden.
        parts = PurePosixPath(entry.key[len(folder) :].lstrip("/")).parts[bool(named) :]
        hidden = any(part.startswith(("_", ".")) for part in parts)
        return entry.size > 0 and not hidden and not entry.key.endswith(".crc")

    kept = [entry for entry in objects if counts(entry)]
    left_out = [entry.uri for entry in objects if not counts(entry)]
    if left_out and kept:
        notes.append(f"Objects that are empty or markers are left out of the {kind} data: {listing(left_out, 3)}.")
    return kept or objects
