"""Parquet files of a channel → one Arrow table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data import codec, sniff
from airflow_automl.local.training.data.columns import names_of, same_columns
from airflow_automl.local.training.data.values import Unusable

_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


def read_parquet(files: Sequence[tuple[Path, str]]) -> pa.Table:
    """Read Parquet files that share their columns into one table.

    :param files: each file with the address of its object; all have the columns of the first one (R13).
    :return: the rows of all files, in the order of the files.
    :raises JobFailure: a file is not Parquet, or its columns or their types don't fit those of the others.
    """
    header: list[str] = []
    expected_from = ""
    tables: list[pa.Table] = []
    for path, uri in files:
        sniff.require_parquet(path, uri)
        try:
            # ParquetFile reads this very file; read_table would make a dataset of it and guess partitions.
            with pa.parquet.ParquetFile(path) as file:
                table = file.read()
        except (pa.ArrowInvalid, OSError) as error:
            raise JobFailure(f"{uri} is a damaged Parquet file: write it again.") from error
        # pandas' row labels are not data.
        kept = [place for place, name in enumerate(table.column_names) if not _PANDAS_INDEX.fullmatch(name)]
        table = table.select(kept)
        table = table.rename_columns(names_of(table.column_names))
        names = table.column_names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise JobFailure(f"{uri} has the column '{twice[0]}' more than once.")
        if not tables:
            header, expected_from = names, uri
        same_columns(names, header, uri, expected_from)
        tables.append(table.select(header))
    return pa.table({name: _united(name, tables, files) for name in header})


def _united(name: str, tables: Sequence[pa.Table], files: Sequence[tuple[Path, str]]) -> pa.ChunkedArray:
    """A column of all files; one that can't be learned from may be left out by the request, and stays as it is."""
    parts = [table.column(name) for table in tables]
    try:
        return codec.unite(parts)
    except Unusable as error:
        if len({part.type for part in parts}) == 1:
            return parts[0]
        kinds = {str(part.type): uri for part, (_, uri) in zip(parts, files, strict=True)}
        (one, first), (other, second), *_ = kinds.items()
        raise JobFailure(
            f"The column '{name}' has the Parquet type {one} in {first} and {other} in {second}: write one type."
        ) from error
