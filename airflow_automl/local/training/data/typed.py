"""CSV files → tables whose plain numbers and ISO dates were never strings.

Arrow reads numbers as fast as it reads strings, while turning strings into numbers afterwards takes several times as
long. So types are guessed from the first rows, and columns that turn out to be something else are read again, as
the strings that :mod:`airflow_automl.local.training.data.codec` judges. What is a number here is one there, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_automl.local.training.data.codec import EXACT, NULLS, NUMERIC_NULLS, POINT_ZERO, Kind, decide
from airflow_automl.local.training.data.columns import trimmed
from airflow_automl.local.training.data.csv_file import CsvFile, Ragged, code_starts
from airflow_automl.local.training.data.values import distinct, is_text

_ESCAPED, _POINTED = b"escaped", b"pointed"
"""Keys in a table's metadata: whether its CSV had quotes escaped by backslashes; and columns whose whole numbers are
written as ``1.0``."""

_GLANCE = 1 << 15
_SCAN = 1 << 18
"""Bytes that are searched at once: few enough to stay in a processor's cache."""
_FAILED = re.compile(r"In CSV column #(\d+): ")
_MAX_RETRIES = 3
"""Columns of a file that may turn out to be something else before all of its columns are read as strings."""


def read(groups: Sequence[Sequence[tuple[Path, str]]], notes: list[str], strings: bool = False) -> list[pa.Table]:
    """Read groups of CSV files, such as those of a training and of a validation channel.

    :param groups: each a sequence of files with the addresses of their objects; all files have the same columns (R13).
    :param notes: gets what a person should know about the files.
    :param strings: leave all columns as they are written.
    :return: a table for each group, its rows in the order of the files; the columns have the same types in all of them:
        64-bit floats, timestamps, and strings for everything else.
    :raises JobFailure: a file is not CSV, has other columns, or has a row with too few or too many values.
    """
    files: list[CsvFile] = []
    header: list[str] | None = None
    for group in groups:
        expected_from = "the training data"
        for path, uri in group:
            file = CsvFile.open(path, uri, header, expected_from)
            if header is None:
                header, expected_from = file.names, uri
            if file.repeated:
                notes.append(f"The header of {uri} is repeated among its rows; these rows are left out.")
            files.append(file)
    if header is None:
        return [pa.table({}) for _ in groups]
    # All files have one writer: values that fit both readings are read as in the other files.
    usual = any(file.escaped for file in files)
    files = [
        file if file.escaped is not None else CsvFile.open(file.path, file.uri, header, "the training data", usual)
        for file in files
    ]
    wanted: dict[str, pa.DataType] = dict.fromkeys(header, pa.string())
    with_points: list[str] = []
    if not (strings or any(file.repeated for file in files)):
        wanted, with_points = _guess(files[0])
    found = [_read_one(file, wanted).select(header) for file in files]
    for file in files:
        for column in _with_codes(file, [name for name in header if wanted[name] != pa.string()]):
            wanted[column] = pa.string()
    for name in header:
        if wanted[name] != pa.string() and _doubtful([rows.column(name) for rows in found]):
            wanted[name] = pa.string()
    found = [_corrected(rows, file, wanted) for rows, file in zip(found, files, strict=True)]
    tables = []
    metadata = {_ESCAPED: b"1"} if any(file.escaped for file in files) else {}
    metadata[_POINTED] = json.dumps(with_points).encode()
    for group in groups:
        tables.append(pa.concat_tables(found[: len(group)]).replace_schema_metadata(metadata))
        found = found[len(group) :]
    return tables


def escaped(table: pa.Table) -> bool:
    """Whether the CSV of a table had quotes escaped by backslashes."""
    return _ESCAPED in (table.schema.metadata or {})


def pointed(table: pa.Table, name: str) -> bool:
    """Whether a column's whole numbers are written as ``1.0``: of CSV by its first rows, and all floats of Parquet."""
    values, known = table.column(name), (table.schema.metadata or {}).get(_POINTED)
    if is_text(values.type):
        return _pointed(values)
    return pa.types.is_floating(values.type) if known is None else name in json.loads(known)


def _pointed(values: pa.ChunkedArray) -> bool:
    texts = [trimmed(text) for text in distinct(values)[0] if text is not None]
    return any(map(POINT_ZERO.fullmatch, texts)) and not any(text.lstrip("+-").isdigit() for text in texts)


def _guess(file: CsvFile) -> tuple[dict[str, pa.DataType], list[str]]:
    """Return the type of each column by the first rows, strings if there is any doubt; and :data:`_POINTED` columns."""
    try:
        rows = file.first(_GLANCE)
    except (Ragged, pa.ArrowInvalid):
        return dict.fromkeys(file.names, pa.string()), []
    wanted = {name: _type_of(rows.column(name)) for name in file.names}
    return wanted, [name for name, kind in wanted.items() if kind == pa.float64() and _pointed(rows.column(name))]


def _type_of(values: pa.ChunkedArray) -> pa.DataType:
    kind = decide("", values, odd=0).kind
    if kind is Kind.NUMBER:
        return pa.float64()
    marks = pc.is_in(values, value_set=pa.array([*NULLS, *NUMERIC_NULLS]))
    filled = values.filter(pc.invert(marks))
    for candidate in (pa.timestamp("us", tz="UTC"), pa.timestamp("us")) if kind is Kind.MOMENT else ():
        try:
            filled.cast(candidate)
        except pa.ArrowInvalid:
            continue
        return candidate
    return pa.string()


def _read_one(file: CsvFile, wanted: dict[str, pa.DataType]) -> pa.Table:
    """Read a file; columns that are not what they should be are noted in ``wanted``."""
    for _ in range(_MAX_RETRIES + 1):
        if all(kind == pa.string() for kind in wanted.values()):
            break
        try:
            return file.typed({name: wanted[name] for name in file.names})
        except Ragged:
            break
        except pa.ArrowInvalid as error:
            column = _FAILED.search(str(error))
            if column is None or wanted[file.names[int(column[1])]] == pa.string():
                break
            wanted[file.names[int(column[1])]] = pa.string()
    # Slower, but it reports what is wrong and never mistakes a type.
    wanted.update(dict.fromkeys(file.names, pa.string()))
    return file.strings()


def _corrected(rows: pa.Table, file: CsvFile, wanted: dict[str, pa.DataType]) -> pa.Table:
    again = [name for name in rows.column_names if rows.schema.field(name).type != wanted[name]]
    if again:
        strings = file.strings(again)
        for name in again:
            rows = rows.set_column(rows.column_names.index(name), name, strings.column(name))
    return rows


def _doubtful(parts: Sequence[pa.ChunkedArray]) -> bool:
    """Whether a column may be something else: whole numbers whose digits a float loses, or no value at all."""
    if all(part.null_count == len(part) for part in parts):
        return True
    if not pa.types.is_floating(parts[0].type):
        return False
    return any(_largest(chunk.to_numpy(zero_copy_only=False)) >= EXACT for part in parts for chunk in part.chunks)


def _largest(values: np.ndarray) -> float:
    """The largest absolute value, several times as fast as by Arrow's ``min_max``."""
    sizes = np.abs(values)
    largest = sizes.max(initial=0)
    return float(np.nanmax(sizes, initial=0) if np.isnan(largest) else largest)


def _with_codes(file: CsvFile, suspects: list[str]) -> list[str]:
    """Which of some columns have a value that starts with a zero followed by a digit, as codes do."""
    if not suspects or not file.codes:
        return []
    found: set[int] = set()
    view, start = memoryview(file.data), 0
    while start < len(view):
        end = len(view) if start + _SCAN >= len(view) else start + bytes(view[start : start + _SCAN]).rfind(b"\n") + 1
        if end <= start:
            # A line that is longer than a block is unusual.
            return suspects
        block = np.frombuffer(b"\n" + view[start:end], dtype=np.uint8)
        hits = code_starts(block)
        if len(hits):
            if file.quoted:
                # A comma in quotes would count as a column's end: all these columns are read as strings.
                return suspects
            found |= set(_columns_of(block, hits).tolist())
        start = end
    return [name for name in suspects if file.names.index(name) in found]


def _columns_of(block: np.ndarray, positions: np.ndarray) -> np.ndarray:
    commas, lines = np.flatnonzero(block == ord(",")), np.flatnonzero(block == ord("\n"))
    line = np.searchsorted(lines, positions)
    begins = np.where(line > 0, lines[np.maximum(line - 1, 0)], -1) if len(lines) else np.full(len(positions), -1)
    found: np.ndarray = np.searchsorted(commas, positions) - np.searchsorted(commas, begins)
    return found
