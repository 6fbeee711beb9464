"""CSV: the one parser for files of a channel and for bodies of requests, and the names of columns."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data import csv_text, sniff
from airflow_automl.local.training.data.codec import NULLS, NUMERIC_NULLS
from airflow_automl.local.training.data.columns import names_of, same_columns, separator_hint, trimmed

_BLOCK = 4 << 20
_MAX_BLOCK = (1 << 31) - 1
_CHUNK = 1 << 17
_HEADER_HINT = (" The first row must name the columns.", "")
_COLUMN_NUMBER = re.compile(r"CSV column #(\d+)")
_ZERO, _SEPARATORS, _SIGNS = ord("0"), b',\n\r" \t', b"+-"

# Header cells are read by Python's parser, whose limit of 128 KiB for a value is not a rule of CSV.
csv.field_size_limit(sys.maxsize)


class Ragged(ValueError):
    """Text that is not a table.

    :param row: number of the row at fault, from 1; ``None`` if it is not known.
    :param found: how many values it has.
    :param wanted: how many the others have.
    """

    def __init__(self, row: int | None, found: int, wanted: int) -> None:
        self.row, self.found, self.wanted = row, found, wanted
        super().__init__(f"{f'row {row}' if row else 'a row'} has {found} values where the others have {wanted}")


def parse(
    data: pa.Buffer, types: Mapping[str, pa.DataType], names: Sequence[str], quoted: bool = True, block: int = _BLOCK
) -> pa.Table:
    """Read rows without a header.

    :param data: the rows.
    :param types: the columns to read, with their types; only types other than strings have marks of missing values.
    :param names: of all columns.
    :param quoted: whether values may span lines; only then is the slower way of splitting the rows needed.
    :param block: bytes that are read at once; a row must fit into them.
    :raises Ragged: a row has another number of values than there are columns.
    :raises pyarrow.ArrowInvalid: a value is not of its column's type, or the bytes are not UTF-8.
    """
    ragged: list[Any] = []

    def refuse(row: Any) -> str:
        ragged.append(row)
        return "error"

    def read(threads: bool, block: int) -> pa.Table:
        return pa.csv.read_csv(
            pa.BufferReader(data),
            read_options=pa.csv.ReadOptions(block_size=block, column_names=names, use_threads=threads),
            parse_options=pa.csv.ParseOptions(newlines_in_values=quoted, invalid_row_handler=refuse),
            convert_options=pa.csv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=_NULLS,
                strings_can_be_null=False,
                quoted_strings_can_be_null=True,
            ),
        )

    while True:
        try:
            return read(threads=data.size > block, block=min(block, max(data.size + 1, 1024)))
        except pa.ArrowInvalid as error:
            if ragged and ragged[0].number is None:
                # Only a serial reader counts rows.
                ragged.clear()
                block = max(block, min(data.size + 1, _MAX_BLOCK)) if "straddl" in str(error) else block
                try:
                    read(threads=False, block=block)
                except pa.ArrowInvalid as counted:
                    error = counted
            if ragged:
                raise Ragged(ragged[0].number, ragged[0].actual_columns, ragged[0].expected_columns) from error
            if "straddl" not in str(error) or block >= min(data.size, _MAX_BLOCK):
                raise
            block = min(block * 16, _MAX_BLOCK)


_NULLS = sorted(NULLS | NUMERIC_NULLS)


@dataclass(frozen=True)
class CsvFile:
    """A CSV file with a header.

    :param path: its path.
    :param uri: the address of its object.
    :param names: of its columns.
    :param cells: the cells of the header.
    :param data: the rows below the header.
    :param quoted: whether values may hold commas or span lines.
    :param escaped: whether its quotes were escaped by backslashes; ``None`` if they may be.
    :param repeated: whether the header is repeated among the rows.
    :param codes: whether a value starts with a zero that is followed by a digit.
    """

    path: Path
    uri: str
    names: list[str]
    cells: list[str]
    data: pa.Buffer
    quoted: bool
    escaped: bool | None
    repeated: bool
    codes: bool

    @classmethod
    def open(
        cls, path: Path, uri: str, header: list[str] | None, expected_from: str, escaped: bool | None = None
    ) -> CsvFile:
        """Look at a file that must be CSV.

        :param header: the columns that it must have, in any order; ``None`` for any.
        :param expected_from: whose columns these are, for the message.
        :param escaped: whether backslashes escape its quotes; ``None`` to judge that.
        :raises JobFailure: it is not CSV, or has other columns.
        """
        sniff.require_csv(path, uri)
        cells, offset, line = _header(path)
        quoted, care, repeated, codes = _marks(path, offset, line)
        if care:
            found = csv_text.judge(path) if escaped is None else escaped
            # A value that fits both readings may need the other one, once all files are known.
            if found is not None:
                csv_text.rewrite(path, found)
                cells, offset, line = _header(path)
                quoted, _, repeated, codes = _marks(path, offset, line)
            escaped = found
        names = names_of(cells)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise JobFailure(f"{uri} has the column '{twice[0]}' more than once in its header.")
        if header is not None:
            same_columns(names, header, uri, expected_from)
        with pa.memory_map(str(path)) as file:
            data = file.read_buffer()
        return cls(path, uri, names, cells, data[offset:], quoted, escaped if care else False, repeated, codes)

    def first(self, size: int) -> pa.Table:
        """The rows in about the first ``size`` bytes, as strings.

        :raises Ragged: the file is not a table.
        """
        head = self.data[:size]
        if self.data.size > size:
            end = bytes(head).rfind(b"\n") + 1
            head = self.data[:end]
        return parse(head, dict.fromkeys(self.names, pa.string()), self.names, self.quoted)

    def typed(self, column_types: Mapping[str, pa.DataType]) -> pa.Table:
        """Columns as what they are said to be.

        :param column_types: the columns to read, with their types.
        :raises pyarrow.ArrowInvalid: they are something else.
        :raises Ragged: the file is not a table.
        """
        if self.data.size == 0:
            return pa.table({name: pa.array([], kind) for name, kind in column_types.items()})
        return parse(self.data, column_types, self.names, self.quoted)

    def strings(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Columns as strings, without rows that repeat the header.

        :param columns: those to read; ``None`` for all.
        :raises JobFailure: the file is not a table, or not text.
        """
        wanted = list(self.names if self.repeated else columns or self.names)
        try:
            table = self.typed(dict.fromkeys(wanted, pa.string()))
        except Ragged as error:
            where = f"row {error.row + 1}" if error.row is not None else "a row"
            raise JobFailure(
                f"{self.uri} is not a table: {where} has {error.found} values where the header has "
                f"{error.wanted} columns.{separator_hint(self.names) or _HEADER_HINT[error.wanted > 1]}"
            ) from error
        except pa.ArrowInvalid as error:
            column = _COLUMN_NUMBER.search(str(error))
            where = f" in the column '{self.names[int(column[1])]}'" if column else ""
            if "UTF8" in str(error):
                raise JobFailure(f"{self.uri} is not UTF-8 text{where}: store the CSV as UTF-8.") from error
            raise JobFailure(
                f"{self.uri} could not be read as CSV{where}: a row is longer than {_MAX_BLOCK >> 20} MiB, or a quote "
                "is not closed. Put values with commas, quotes or line breaks into double quotes, and double each "
                "quote inside."
            ) from error
        if self.repeated:
            table = without_headers(table, self.cells)
        return table.select(list(columns or self.names))


def without_headers(table: pa.Table, cells: Sequence[str]) -> pa.Table:
    """The rows of a table that do not repeat its header, as files do that are joined.

    :param table: of texts.
    :param cells: the header.
    """
    kept: Any = None
    for place, cell in enumerate(cells):
        # The next header may begin with a byte order mark.
        texts = pc.utf8_trim(table.column(place), " \t\r\n\ufeff")
        differs = pc.not_equal(texts, trimmed(cell))
        kept = differs if kept is None else pc.or_(kept, differs)
        if pc.all(kept).as_py():
            return table
    return table.filter(kept)


def _header(path: Path) -> tuple[list[str], int, bytes]:
    offset, last = 0, ""

    def lines(file: Any) -> Any:
        nonlocal offset, last
        for line in file:
            offset += len(line.encode("utf-8", "surrogateescape"))
            last = line.lstrip("\ufeff")
            yield last

    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        for row in csv.reader(lines(file)):
            if any(map(trimmed, row)):
                return row, offset, last.strip().encode("utf-8", "surrogateescape")
    return [], offset, b""


def _marks(path: Path, start: int, line: bytes) -> tuple[bool, bool, bool, bool]:
    """Whether a file has quotes, what plain CSV would read otherwise, a repeated header, and codes."""
    repeated = codes = False
    again = re.compile(rb"[\r\n](?:\xef\xbb\xbf)*[ \t]*" + re.escape(line) + rb"[ \t]*(?:[\r\n]|$)")
    with path.open("rb") as file:
        head = file.read(start)
        quoted, care = b'"' in head, csv_text.needs_care(head.removeprefix(b"\xef\xbb\xbf"))
        block = head[-1:] or b"\n"
        # All in one pass: the block stays in the processor's cache.
        while chunk := file.read(_CHUNK):
            block = block[-len(line) - 100 :] + chunk
            quoted = quoted or b'"' in block
            care = care or csv_text.needs_care(block)
            repeated = repeated or (line in block and again.search(block) is not None)
            codes = codes or len(code_starts(np.frombuffer(block, np.uint8))) > 0
    return quoted, care, repeated, codes


def code_starts(block: np.ndarray) -> np.ndarray:
    """Positions of zeros that begin a value and are followed by a digit.

    :param block: bytes; of what they begin with, only the end of a line or of a value counts.
    """
    # Most zeros are classified together: separators and plus sort before the digits in ASCII; dates often have a minus.
    found = block[:-1] == _ZERO
    found &= block[1:] >= _ZERO
    low = block <= ord(",")
    found[2:] &= low[1:-2] | ((block[1:-2] == ord("-")) & low[:-3])
    positions = np.flatnonzero(found)
    positions = positions[block[positions + 1] <= ord("9")]
    before = block[np.maximum(positions - 1, 0)]
    signed = np.isin(before, np.frombuffer(_SIGNS, np.uint8))
    before = np.where(signed, block[np.maximum(positions - 2, 0)], before)
    starts: np.ndarray = positions[np.isin(before, np.frombuffer(_SEPARATORS, np.uint8))]
    return starts
