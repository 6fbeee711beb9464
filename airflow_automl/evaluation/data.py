"""Labelled data in S3: rows of CSV and Parquet, and files, of which a sample is drawn that is the same every time."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_automl.exceptions import AutoMLValidationError

if TYPE_CHECKING:
    from airflow_automl.hooks.storage import Storage

_Item = TypeVar("_Item")

#: Largest amount of data to read from a prefix into memory.
MOST_BYTES = 200_000_000


def draw(items: Iterable[_Item], most: int, seed: int) -> list[_Item]:
    """Return at most so many of the items, in random order, the same ones for the same seed."""
    chance, kept = random.Random(seed), list[_Item]()  # noqa: S311  # a sample, no secret
    for number, item in enumerate(items):
        if number < most:
            kept.append(item)
        elif (place := chance.randrange(number + 1)) < most:
            kept[place] = item
    chance.shuffle(kept)
    return kept


@dataclass(frozen=True)
class LabelledData:
    """The objects at an address.

    :param storage: reads them.
    :param address: an S3 prefix or object.
    :param seed: of the sample.
    :param argument: the operator's argument that names the address, for messages.
    """

    storage: Storage
    address: str
    seed: int = 0
    argument: str = "data"

    def wrong(self, problem: str) -> AutoMLValidationError:
        return AutoMLValidationError(self.argument, [f"{self.argument}: {problem}"])

    def files(self) -> dict[str, int]:
        """Return the objects with their sizes in bytes, in the order of their names, without empty and hidden ones."""
        found = sorted(self.storage.find(self.address).items())
        if not found:
            raise self.wrong(f"there is nothing at {self.address}")
        return {each: size for each, size in found if size and each.rpartition("/")[2][:1] not in {"_", "."}}

    def rows(self) -> Iterator[tuple[str, list[str], list[str]]]:
        """Yield each row as where it is, the names of its columns, and its values as CSV has them.

        Of data that has more than 200 MB, whole objects are drawn.
        """
        sizes, room, fitting = self.files(), MOST_BYTES, list[str]()
        for address in draw(sizes, len(sizes), self.seed):
            if sizes[address] <= room:
                room -= sizes[address]
                fitting.append(address)
        if sizes and not fitting:
            most = MOST_BYTES // 1_000_000
            raise self.wrong(f"each object at {self.address} has more than {most} MB; split them, or name a sample")
        for address in sorted(fitting):
            raw = self.storage.read(address)
            yield from self._parquet(address, raw) if raw[:4] == b"PAR1" else self._csv(address, raw)

    def _csv(self, address: str, raw: bytes) -> Iterator[tuple[str, list[str], list[str]]]:
        try:
            text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
        except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise self.wrong(f"{address} is neither Parquet nor CSV in UTF-8: {error}") from error
        # Python's reader accepts 128 KiB by default; texts may be longer.
        csv.field_size_limit(MOST_BYTES)
        reader = csv.reader(io.StringIO(text, newline=""))
        header = next(reader, [])
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                where = f"line {reader.line_num} of {address}"
                raise self.wrong(f"{where} has {len(row)} values, its header {len(header)}")
            yield address, header, row

    def _parquet(self, address: str, raw: bytes) -> Iterator[tuple[str, list[str], list[str]]]:
        try:
            import pyarrow as pa
            import pyarrow.parquet as parquet
        except ImportError as error:
            raise self.wrong(
                f"{address} is Parquet, which needs pyarrow: run pip install pyarrow on the workers, or give CSV"
            ) from error
        try:
            table = parquet.ParquetFile(io.BytesIO(raw))
            for batch in table.iter_batches():
                columns = [column.to_pylist() for column in batch.columns]
                for row in zip(*columns, strict=True):
                    yield address, table.schema_arrow.names, [_text(value) for value in row]
        except pa.ArrowException as error:
            raise self.wrong(f"{address} is damaged Parquet: {error}") from error

    def entries(self, address: str) -> Iterator[dict[str, Any]]:
        """Yield the entries of a manifest in JSON lines."""
        for number, line in enumerate(self.storage.read(address).splitlines(), start=1):
            if not line.strip():
                continue
            try:
                yield dict(json.loads(line))
            except (ValueError, TypeError) as error:
                raise self.wrong(f"line {number} of {address} is not a JSON object: {error}") from error


def _text(value: Any) -> str:
    """Return a value as CSV has it: an empty text for null and NaN, which alone differs from itself."""
    return "" if value is None or value != value else str(value)
