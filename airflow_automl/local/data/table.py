"""Files on disk → one Arrow table; CSV as strings, so that types are judged over all objects at once."""

from __future__ import annotations

import contextlib
import mmap
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from airflow_automl.local.data import sniff
from airflow_automl.local.data.failures import JobFailure, listing
from airflow_automl.local.data.types import NULLS

__all__ = ["read_csv", "read_parquet"]

_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
_BLOCK = 8 << 20
_COLUMN_NUMBER = re.compile(r"CSV column #(\d+)")


def read_csv(files: Sequence[tuple[Path, str]], header: list[str] | None = None) -> pa.Table:
    """Read CSV files that share a header into one table of strings.

    :param files: each file with the address of its object.
    :param header: the columns that the files must have (R13); by default those of the first file.
    :return: the rows of all files, in the order of the files.
    :raises JobFailure: a file is not CSV, has other columns, or has a row with too few or too many values.
    """
    expected_from = "the training data"
    tables = []
    for path, uri in files:
        sniff.require_csv(path, uri)
        names = sniff.csv_header(path, uri)
        if header is None:
            header, expected_from = names, uri
        _same_columns(names, header, uri, expected_from)
        tables.append(_read_one(path, uri, names).select(header))
    return pa.concat_tables(tables)


def read_parquet(files: Sequence[tuple[Path, str]], header: list[str] | None = None) -> pa.Table:
    """Read Parquet files that share their columns into one table.

    :param files: each file with the address of its object.
    :param header: the columns that the files must have (R13); by default those of the first file.
    :return: the rows of all files, in the order of the files.
    :raises JobFailure: a file is not Parquet, or its columns or their types don't fit those of the others.
    """
    expected_from = "the training data"
    tables = []
    for path, uri in files:
        sniff.require_parquet(path, uri)
        try:
            # ParquetFile reads this very file; read_table would make a dataset of it and guess partitions.
            with pa.parquet.ParquetFile(path) as file:
                table = file.read()
            # Row labels that pandas wrote along are no data.
            table = table.drop_columns([name for name in table.column_names if _PANDAS_INDEX.fullmatch(name)])
        except (pa.ArrowInvalid, OSError) as error:
            raise JobFailure(f"{uri} is a damaged Parquet file: {error}.") from error
        names = table.column_names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise JobFailure(f"{uri} has the column '{twice[0]}' more than once.")
        if header is None:
            header, expected_from = names, uri
        _same_columns(names, header, uri, expected_from)
        tables.append(table.select(header))
        try:
            pa.unify_schemas([entry.schema for entry in tables], promote_options="permissive")
        except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
            raise JobFailure(f"{uri} has a column whose type differs from the other objects': {error}.") from error
    return pa.concat_tables(tables, promote_options="permissive")


def _read_one(path: Path, uri: str, names: list[str]) -> pa.Table:
    ragged: list[Any] = []

    def refuse(row: Any) -> str:
        ragged.append(row)
        return "error"

    def read(threads: bool) -> pa.Table:
        return pa.csv.read_csv(
            path,
            read_options=pa.csv.ReadOptions(
                use_threads=threads, block_size=_BLOCK, column_names=names, skip_rows_after_names=0, skip_rows=0
            ),
            parse_options=pa.csv.ParseOptions(newlines_in_values=_has_quotes(path), invalid_row_handler=refuse),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=NULLS,
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    try:
        table = read(threads=True)
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
    # The names were given, so the header line came along as the first row.
    return table.slice(1)


def _has_quotes(path: Path) -> bool:
    """Whether a value may span lines; only then is the slower way of splitting the file needed."""
    if path.stat().st_size == 0:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        return view.find(b'"') >= 0


def _same_columns(names: list[str], header: list[str], uri: str, expected_from: str) -> None:
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
