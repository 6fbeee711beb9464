"""Records of batch transform: cut out of objects, filtered, put into payloads, and joined with their answers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from airflow_automl.local.serving.transform import json_path
from airflow_automl.local.serving.transform.json_path import Filter, PathError


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

        :raises PathError: where a filter is no path.
        """
        given = request.get("DataProcessing", {})
        filters = [
            json_path.parse(given[name]) if given.get(name, "$") != "$" else None
            for name in ("InputFilter", "OutputFilter")
        ]
        content_type = request["TransformInput"].get("ContentType") or "text/csv"
        accept = request["TransformOutput"].get("Accept") or content_type.partition(";")[0]
        return cls(content_type, accept, given.get("JoinSource") == "Input", *filters)

    @property
    def header(self) -> bool:
        """Whether an object's first line names the columns."""
        return self.content_type.replace(" ", "").lower().endswith(";header=present")

    def payload(self, record: bytes) -> bytes:
        """A record as the model gets it."""
        if self.input_filter is None:
            return record
        return _write(_apply(self.input_filter, _read(record, self.content_type)), self.content_type)

    def finish(self, record: bytes, answer: bytes) -> bytes:
        """The model's answer to a record, as the job is to store it."""
        if not self.join and self.output_filter is None:
            return answer
        value = _read(answer, self.accept)
        if self.join:
            value = self._joined(_read(record, self.content_type), value)
        if self.output_filter is not None:
            value = _apply(self.output_filter, value)
        return _write(value, self.accept)

    def _joined(self, record: Any, answer: Any) -> Any:
        if _is_csv(self.content_type) != _is_csv(self.accept):
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
        """Whether each record needs its own answer."""
        return self.join or self.output_filter is not None


def batches(
    handle: IO[bytes], limit: int, *, single: bool, header: bool, processing: Processing
) -> Iterator[tuple[list[bytes], bytes]]:
    """Cut an object into records, one a line, and put them into payloads.

    :param limit: bytes that a payload may have; 0 for no limit.
    :param single: one record a payload.
    :param header: the first line goes before every payload.
    :return: the records as they were, and the payload.
    """
    top = processing.payload(handle.readline().rstrip(b"\r\n")) + b"\n" if header else b""
    records: list[bytes] = []
    payload: list[bytes] = []
    size = len(top)
    for line in handle:
        record = line.rstrip(b"\r\n")
        if not record:
            continue
        filtered = processing.payload(record) + b"\n"
        if limit and len(top) + len(filtered) > limit:
            raise RecordError(f"a record has {len(filtered)} bytes; MaxPayloadInMB allows {limit}")
        if records and (single or (limit and size + len(filtered) > limit)):
            yield records, top + b"".join(payload)
            records, payload, size = [], [], len(top)
        records.append(record)
        payload.append(filtered)
        size += len(filtered)
    if records:
        yield records, top + b"".join(payload)


def answers(body: bytes, records: Sequence[bytes], accept: str) -> list[bytes]:
    """Cut the model's answer into one answer a record.

    :raises RecordError: where it has more or fewer.
    """
    found: list[bytes]
    if accept.partition(";")[0].strip().lower() == "application/json":
        value = json.loads(body)
        items = next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else value
        found = [json.dumps(item).encode() for item in items] if isinstance(items, list) else [body]
    else:
        found = [line for line in body.splitlines() if line]
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
        text = record.decode()
        return next(csv.reader([text]), []) if _is_csv(content_type) else json.loads(text)
    except (ValueError, csv.Error) as error:
        raise RecordError(f"the record {record[:80]!r} can't be read as {content_type}: {error}") from None


def _write(value: Any, content_type: str) -> bytes:
    if not _is_csv(content_type):
        return json.dumps(value, ensure_ascii=False).encode()
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(value if isinstance(value, list) else [value])
    return line.getvalue().encode()


def _apply(selection: Filter, value: Any) -> Any:
    try:
        return selection(value)
    except PathError as error:
        raise RecordError(f"{error}: {str(value)[:80]}") from None
