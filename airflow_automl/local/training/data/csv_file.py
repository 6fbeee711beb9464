"""One CSV file on disk, read as strings or as what its columns are said to hold."""

from __future__ import annotations

import contextlib
import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from airflow_automl.local.training.data import sniff
from airflow_automl.local.training.data.failures import JobFailure, listing
from airflow_automl.local.training.data.types import NULLS

__all__ = ["CsvFile", "same_columns"]

_BLOCK = 4 << 20
_COLUMN_NUMBER = re.compile(r"CSV column #(\d+)")


@dataclass(frozen=True)
class CsvFile:
    """A CSV file with a header.

    :param path: where it lies.
    :param uri: the address of its object.
    :param names: of its columns.
    :param quoted: whether values may span lines; only then is the slower way of splitting the file needed.
    """

    path: Path
    uri: str
    names: list[str]
    quoted: bool

    @classmethod
    def open(cls, path: Path, uri: str, header: list[str] | None, expected_from: str) -> CsvFile:
        """Look at the beginning of a file that must be CSV.

        :param header: the columns that it must have, in any order; ``None`` for any.
        :param expected_from: whose columns these are, for the message.
        :raises JobFailure: it is not CSV, or has other columns.
        """
        sniff.require_csv(path, uri)
        names = sniff.csv_header(path, uri)
        if header is not None:
            same_columns(names, header, uri, expected_from)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            quoted = view.find(b'"') >= 0
        return cls(path, uri, names, quoted)

    def first(self, size: int) -> pa.Table:
        """The rows in about the first ``size`` bytes, as strings.

        :raises pyarrow.ArrowInvalid: the file is no table.
        """
        given = self._options(size, dict.fromkeys(self.names, pa.string()))
        try:
            with pa.csv.open_csv(self.path, **given) as reader:
                return pa.Table.from_batches([reader.read_next_batch()])
        except StopIteration:
            return pa.table({name: pa.array([], pa.string()) for name in self.names})

    def typed(self, column_types: Mapping[str, pa.DataType]) -> pa.Table:
        """Columns as what they are said to be.

        :param column_types: the columns to read, with their types.
        :raises pyarrow.ArrowInvalid: they are something else, or the file is no table.
        """
        return pa.csv.read_csv(self.path, **self._options(_BLOCK, column_types))

    def strings(self, columns: list[str] | None = None) -> pa.Table:
        """Columns as strings.

        :param columns: those to read; ``None`` for all.
        :raises JobFailure: the file is no table, or no text.
        """
        uri, names = self.uri, self.names
        ragged: list[Any] = []

        def refuse(row: Any) -> str:
            ragged.append(row)
            return "error"

        def read(threads: bool) -> pa.Table:
            given = self._options(_BLOCK, dict.fromkeys(columns or names, pa.string()))
            given["read_options"].use_threads = threads
            given["parse_options"].invalid_row_handler = refuse
            return pa.csv.read_csv(self.path, **given)

        try:
            return read(threads=True)
        except pa.ArrowInvalid as error:
            if "invalid UTF8" in str(error):
                column = _COLUMN_NUMBER.search(str(error))
                where = f" in the column '{names[int(column[1])]}'" if column else ""
                raise JobFailure(f"{uri} is not UTF-8 text{where}: store the CSV as UTF-8.") from error
            if not ragged:
                raise JobFailure(f"{uri} could not be read as CSV: {error}.") from error
            # Only a serial reader counts rows.
            ragged.clear()
            with contextlib.suppress(pa.ArrowInvalid):
                read(threads=False)
            row = ragged[0]
            where = f"row {row.number}" if row.number is not None else "a row"
            raise JobFailure(
                f"{uri} is not a table: {where} has {row.actual_columns} values where the header has "
                f"{row.expected_columns} columns."
            ) from error

    def _options(self, block: int, column_types: Mapping[str, pa.DataType]) -> dict[str, Any]:
        return {
            # The names are given, because a column without one has got one; so the header line is skipped.
            "read_options": pa.csv.ReadOptions(block_size=block, column_names=self.names, skip_rows_after_names=1),
            "parse_options": pa.csv.ParseOptions(newlines_in_values=self.quoted),
            "convert_options": pa.csv.ConvertOptions(
                column_types=column_types,
                include_columns=list(column_types),
                null_values=NULLS,
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        }


def same_columns(names: list[str], header: list[str], uri: str, expected_from: str) -> None:
    """Refuse a file whose columns differ from those of another; their order may (R13).

    :raises JobFailure: they do.
    """
    if names == header or sorted(names) == sorted(header):
        return
    missing = [name for name in header if name not in names]
    extra = [name for name in names if name not in header]
    parts = []
    if missing:
        parts.append(f"it lacks {listing(missing, 5)}")
    if extra:
        parts.append(f"it also has {listing(extra, 5)}")
    raise JobFailure(f"The header of {uri} differs from that of {expected_from}: {' and '.join(parts)}.")
