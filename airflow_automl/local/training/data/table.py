"""Files on disk → one Arrow table; CSV as strings, so that types are judged over all objects at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from airflow_automl.local.training.data import sniff
from airflow_automl.local.training.data.csv_file import CsvFile, same_columns
from airflow_automl.local.training.data.failures import JobFailure

__all__ = ["read_csv", "read_parquet"]

_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


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
        file = CsvFile.open(path, uri, header, expected_from)
        if header is None:
            header, expected_from = file.names, uri
        tables.append(file.strings().select(header))
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
        same_columns(names, header, uri, expected_from)
        tables.append(table.select(header))
        try:
            pa.unify_schemas([entry.schema for entry in tables], promote_options="permissive")
        except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
            raise JobFailure(f"{uri} has a column whose type differs from the other objects': {error}.") from error
    return pa.concat_tables(tables, promote_options="permissive")
