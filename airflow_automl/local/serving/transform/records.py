"""Records of batch transform: cut out of objects, filtered, put into payloads, and joined with their answers."""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any

from airflow_automl.local.serving.transform import json_path
from airflow_automl.local.serving.transform.json_path import Filter, PathError
from airflow_automl.local.training.data import csv_text
from airflow_automl.local.training.data.columns import UNNAMED, header_order

# A text may be longer than 128 KiB.
csv.field_size_limit(sys.maxsize)

#: Bytes of the longest record that an input filter may shorten to what MaxPayloadInMB allows.
_LONGEST = 100 << 20


class RecordError(Exception):
    """Records that can't be processed as the job says; the message says which and why."""


@dataclass(frozen=True)
class Processing:
    """A transform job's DataProcessing.

    :param content_type: of the input.
    :param accept: of the model's answers.
    :param join: whether the input stands before each answer.
    """

    content_type: str
    accept: str
    join: bool
    input_filter: Filter | None
    output_filter: Filter | None

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Processing:
        """Read it from a CreateTransformJob request.

        :raises PathError: a filter is not a path.
        """
        given = request.get("DataProcessing", {})
        filters = [
            json_path.parse(given[name]) if given.get(name, "$") != "$" else None
            for name in ("InputFilter", "OutputFilter")
        ]
        content_type = request["TransformInput"].get("ContentType") or "text/csv"
        accept = request["TransformOutput"].get("Accept") or content_type.partition(";")[0]
        return cls(content_type, accept, given.get("JoinSource") == "Input", *filters)

    @cached_property
    def csv(self) -> bool:
        """Return whether the input is CSV."""
        return _is_csv(self.content_type)

    @cached_property
    def _appended(self) -> bool:
        return self.csv and _is_csv(self.accept) and self.output_filter is None

    @property
    def header(self) -> bool:
        """Return whether an object's first line names the columns."""
        return "header=present" in self.content_type.replace(" ", "").lower()

    def headers(self, named: bool | None = None) -> dict[str, str]:
        """Return the headers of a request to the model.

        :param named: whether its first row names the columns; ``None`` to leave that to the model.
        """
        kind = self.content_type
        if self.csv:
            if named is not None:
                kind = f"{kind.partition(';')[0]};header={'present' if named else 'absent'}"
            kind = f"{kind};{csv_text.PLAIN}"
        return {"content-type": kind, "accept": self.accept}

    def payload(self, record: bytes) -> bytes:
        """A record as the model gets it."""
        if self.input_filter is None:
            return record
        return _write(_apply(self.input_filter, _read(record, self.content_type)), self.content_type)

    def finish(self, record: bytes, answer: bytes) -> bytes:
        """The model's answer to a record, as the job is to store it."""
        if not self.join and self.output_filter is None:
            return answer
        if self._appended and not any(mark in record + answer for mark in (b'"', b"\n")):
            # What CSV's reader and writer would make of it.
            return b"%b,%b" % (record, answer)
        value = _read(answer, self.accept)
        if self.join:
            value = self._joined(_read(record, self.content_type), value)
        if self.output_filter is not None:
            value = _apply(self.output_filter, value)
        return _write(value, self.accept)

    def _joined(self, record: Any, answer: Any) -> Any:
        if self.csv != _is_csv(self.accept):
            raise RecordError(
                f"JoinSource Input can't join {self.content_type} with {self.accept}; both must be CSV, or both JSON"
            )
        if _is_csv(self.accept):
            return [*record, *answer]
        if isinstance(record, dict):
            return {**record, "SageMakerOutput": answer}
        return {"SageMakerInput": record, "SageMakerOutput": answer}

    @property
    def per_record(self) -> bool:
        """Return whether each record needs its own answer."""
        return self.join or self.output_filter is not None


def blocks(
    handle: IO[bytes], processing: Processing, limit: int = 0, size: Callable[[], int] = lambda: 1 << 20
) -> Iterator[bytes]:
    """Cut an object into blocks of whole records, one a line; a value in quotes may span lines of CSV.

    :param handle: the object; CSV is plain (:mod:`airflow_automl.local.training.data.csv_text`).
    :param processing: knows its content type.
    :param limit: bytes that a payload may have; 0 for no limit.
    :param size: bytes of the next block at most, unless it has a longer record.
    """
    # A record without an end, or a compressed one, must not fill the memory before it is refused.
    whole = csv_text.whole if processing.csv else _whole_lines
    return csv_text.blocks(handle, size, _longest(processing, limit), whole)


def _longest(processing: Processing, limit: int) -> int:
    return max(limit, _LONGEST) if limit and processing.input_filter else limit


def _whole_lines(data: bytes) -> int:
    return data.rfind(b"\n") + 1


def records(block: bytes, processing: Processing) -> list[bytes]:
    """The records of a block that are not empty, without the ends of their lines."""
    if processing.csv:
        return csv_text.rows(block)
    return [record for line in block.split(b"\n") if (record := line.rstrip(b"\r"))]


def batches(
    found: Iterable[bytes],
    limit: int,
    *,
    single: bool,
    top: bytes | None,
    processing: Processing,
    fill: Callable[[], int] | None = None,
) -> Iterator[tuple[list[bytes], bytes]]:
    """Put records into payloads.

    :param found: the blocks of an object.
    :param limit: bytes that a payload may have; 0 for no limit.
    :param single: one record a payload.
    :param fill: bytes that the next payload of rows of a table is filled to, if that is less than the limit; ``None``
        if the records are something else.
    :param top: the header, which goes before every payload and is skipped if it is repeated; ``None`` without one.
    :return: the records as they were, if each needs its own answer, and the payload.
    :raises RecordError: a record is longer than any payload.
    """
    head = b"" if top is None else processing.payload(top) + b"\n"
    # What reads tables skips empty lines and repeated headers: without a look at each row, a block is a payload.
    whole = fill is not None and not (single or processing.per_record or processing.input_filter)
    most, longest = limit or sys.maxsize, _longest(processing, limit) or sys.maxsize
    # The only text of a row may be the name of its column.
    again = top if top and b"," in top else None
    given: list[bytes] = []
    payload: list[bytes] = []
    size = len(head)
    for block in found:
        if whole and len(head) + len(block) <= most:
            if block.strip(b"\r\n"):
                yield [], head + block
            continue
        room = min(most, fill()) if fill else most
        for record in records(block, processing):
            if record == again:
                continue
            if len(record) > longest:
                raise RecordError(f"a record has more than {longest} bytes; MaxPayloadInMB allows {limit}")
            filtered = processing.payload(record) + b"\n"
            if len(head) + len(filtered) > most:
                raise RecordError(f"a record has {len(filtered)} bytes; MaxPayloadInMB allows {limit}")
            if given and (single or size + len(filtered) > room):
                yield given, head + b"".join(payload)
                given, payload, size = [], [], len(head)
            given.append(record)
            payload.append(filtered)
            size += len(filtered)
        if whole and given:
            yield given, head + b"".join(payload)
            given, payload, size = [], [], len(head)
    if given:
        yield given, head + b"".join(payload)


def begin(found: Iterator[bytes], names: Sequence[str], processing: Processing) -> tuple[bytes | None, Iterator[bytes]]:
    """Take the header from the blocks of an object.

    :param found: the blocks.
    :param names: the columns that the model takes; empty if it takes no rows of a table.
    :param processing: knows the content type and the input's filter.
    :return: the header, or ``None`` without one, and the blocks after it.
    :raises RecordError: the header lacks columns of the model.
    """
    # An object without records is a record without a value: the model says what is wrong with it.
    block = next(filter(lambda each: each.strip(b"\r\n"), found), b" \n")
    left = records(block, processing) if processing.csv else []
    lone = len(names) == 1
    place = next((at for at, row in enumerate(left) if row.strip() or (lone and names[0].startswith(UNNAMED))), None)
    top = None
    if place is not None and _is_header(left[place], names, processing):
        top = left[place]
        block = b"\n".join([*left[place + 1 :], b""])
    elif place and not lone:
        # In a single column, a line of blanks is a missing value.
        block = b"\n".join([*left[place:], b""])
    return top, itertools.chain((block,), found)


def _is_header(first: bytes, names: Sequence[str], processing: Processing) -> bool:
    if not names:
        return processing.header
    cells = _read(processing.payload(first), processing.content_type)
    try:
        return header_order(cells, names, processing.content_type) is not None
    except ValueError as error:
        raise RecordError(str(error)) from None


def answers(body: bytes, records: Sequence[bytes], accept: str) -> list[bytes]:
    """Cut the model's answer into one answer a record.

    :raises RecordError: if it has more or fewer.
    """
    found: list[bytes]
    if accept.partition(";")[0].strip().lower() == "application/json":
        value = json.loads(body)
        items = next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else value
        found = [json.dumps(item).encode() for item in items] if isinstance(items, list) else [body]
    else:
        # A class whose name has a line break is in quotes.
        found = csv_text.rows(body) if _is_csv(accept) else [line for line in body.splitlines() if line]
    if len(found) != len(records):
        raise RecordError(
            f"the model gave {len(found)} answers to {len(records)} records; "
            "if the first line of the data names the columns, use the content type text/csv;header=present"
        )
    return found


def _is_csv(content_type: str) -> bool:
    return content_type.strip().lower().startswith("text/csv")


def _read(record: bytes, content_type: str) -> Any:
    try:
        text = record.decode("utf-8-sig")
        if not _is_csv(content_type):
            return json.loads(text)
        rows = list(filter(None, csv.reader(io.StringIO(text, newline=""))))
        if len(rows) > 1:
            raise RecordError("DataProcessing filters and joins records of one row: use SplitType Line")
        return rows[0] if rows else []
    except (ValueError, RecursionError, csv.Error) as error:
        raise RecordError(f"the record {record[:80]!r} can't be read as {content_type}: {error}") from None


def _write(value: Any, content_type: str) -> bytes:
    if not _is_csv(content_type):
        return json.dumps(value, ensure_ascii=False).encode()
    line = io.StringIO()
    # The writer quotes line breaks only if its own lines end with them.
    csv.writer(line, lineterminator="\r\n").writerow(value if isinstance(value, list) else [value])
    return line.getvalue()[:-2].encode()


def _apply(selection: Filter, value: Any) -> Any:
    try:
        return selection(value)
    except PathError as error:
        raise RecordError(f"{error}: {str(value)[:80]}") from None
