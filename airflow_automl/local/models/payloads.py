"""Request bodies → rows, and predictions → response bodies, in Autopilot's formats."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from airflow_automl.exceptions import AutoMLTerminalError
from airflow_automl.local.errors import listing
from airflow_automl.local.models.wire import Payload
from airflow_automl.local.training.data import csv_text
from airflow_automl.local.training.data.codec import Codec
from airflow_automl.local.training.data.columns import UNNAMED, header_order, locate
from airflow_automl.local.training.data.csv_file import Ragged, parse, without_headers
from airflow_automl.local.training.data.values import Refused, Unusable

CSV = "text/csv"
JSON = "application/json"
JSON_LINES = "application/jsonlines"
_ALIASES = {"application/x-jsonlines": JSON_LINES, "application/jsonl": JSON_LINES, "application/x-ndjson": JSON_LINES}
_TYPES = (CSV, JSON, JSON_LINES)

KEYS = ("predicted_label", "probability", "probabilities", "labels")
"""What a response can hold; a regression has only the first."""


class PayloadError(AutoMLTerminalError):
    """A request body that the model can't take; the message says what is wrong with which row or column."""


Read = TypeVar("Read")
Responses = Sequence[tuple[bytes, str] | PayloadError]
"""Answers with their types, or why a request can't be answered."""


def answer_together(
    requests: Sequence[Payload],
    read: Callable[[Payload], Read],
    answer: Callable[[list[Read]], Responses],
    fit: Callable[[list[Read]], bool] = lambda read: True,
) -> Responses:
    """Answer requests by one prediction; see :class:`airflow_automl.local.models.artifacts.Responder`.

    :param read: reads one; if it raises PayloadError, that is the answer to this request alone.
    :param answer: answers those that were read.
    :param fit: whether several can be answered by one prediction; otherwise, the last one waits for the next.
    """
    found: list[Read | PayloadError] = []
    together: list[Read] = []
    for request in requests:
        try:
            made = read(request)
        except PayloadError as error:
            found.append(error)
            continue
        if together and not fit([*together, made]):
            break
        found.append(made)
        together.append(made)
    answers = iter(answer(together) if together else ())
    return [each if isinstance(each, PayloadError) else next(answers) for each in found]


def negotiate(accept: str | None) -> str:
    """The type of the response.

    :param accept: the Accept header; anything at all, or nothing, means CSV, as for Autopilot's containers.
    :raises PayloadError: none of what is accepted can be answered.
    """
    wanted = [media_type(part) for part in (accept or "").split(",") if part.strip()]
    if not wanted:
        return CSV
    for kind in wanted:
        if kind in _TYPES:
            return kind
        if kind in {"*/*", "text/*"}:
            return CSV
    raise PayloadError(f"The model can't answer {accept}; it answers {listing(_TYPES)}.")


def decode(
    body: bytes, content_type: str | None, features: Sequence[Codec], target: str | None = None, escaped: bool = False
) -> dict[str, np.ndarray]:
    """Read the rows of a request.

    CSV may begin with a header, and does if the content type says ``header=present``: then its columns may be in any
    order, and others than the model's are ignored. JSON is a row or a list of rows, also under ``instances``, or the
    ``{"columns": …, "data": …}`` of pandas; JSON lines have a row in each line. A row is an object (other members than
    the model's columns are ignored) or a list of values in the order of the columns, also under ``features``. If the
    model has a single column, a bare value is also a row.

    :param body: the request's body.
    :param content_type: its type; CSV when there is none.
    :param features: what the model learned from.
    :param target: the target's name, to recognize it as a surplus column.
    :param escaped: whether the training data had quotes escaped by backslashes.
    :return: the values of each feature, typed as in training.
    :raises PayloadError: the body can't be read as rows for this model.
    """
    kind = media_type(content_type or CSV) or CSV
    if kind not in _TYPES:
        raise PayloadError(f"The model can't read the content type {content_type}; it reads {listing(_TYPES)}.")
    names = [feature.name for feature in features]
    if kind == CSV:
        table = csv_table(body, content_type, names, target, escaped)
        single = table.num_columns == 1
        top = 0
        if single and not names[0].startswith(UNNAMED):
            top = next((row for row, text in enumerate(table[0].to_pylist()) if text.strip()), 0)
        cells = [column[top].as_py() for column in table.columns]
        try:
            order = header_order(cells, names, content_type, table.num_rows)
        except ValueError as error:
            raise PayloadError(str(error)) from error
        if order is None:
            _require_width(table.column_names, 1, names, target)
        else:
            table = table.slice(top + 1)
            # The only text of a row may be the name of its column.
            table = (table if single else without_headers(table, cells)).select(order)
        columns = table.columns
    else:
        text = text_of(body)
        try:
            documents = json_lines(text) if kind == JSON_LINES else _json_rows(text, names)
            rows = [_json_row(entry, number, names, target) for number, entry in enumerate(documents, 1)]
        except ValueError as error:
            raise PayloadError(str(error)) from error
        columns = list(zip(*rows, strict=True))
    if not columns or not len(columns[0]):
        raise PayloadError("The body has no rows.")
    return {feature.name: _read(feature, values) for feature, values in zip(features, columns, strict=True)}


def _read(feature: Codec, values: pa.ChunkedArray | Sequence[Any]) -> np.ndarray:
    try:
        return feature.read(values).values if isinstance(values, pa.ChunkedArray) else feature.take(values)
    except Refused as error:
        raise PayloadError(f"Row {error.row + 1}: {error}.") from error
    except Unusable as error:
        raise PayloadError(f"The column '{feature.name}' can't be read: {error}.") from error


def csv_table(
    body: bytes,
    content_type: str | None,
    names: Sequence[str] = (),
    target: str | None = None,
    escaped: bool = False,
) -> pa.Table:
    """Parse CSV; every row, a header too, is a row of the table, and all values are texts.

    :param body: CSV in UTF-8.
    :param content_type: its type.
    :param names: the columns that the model takes, if their number is known.
    :param target: the target's name, for messages.
    :param escaped: whether the training data had quotes escaped by backslashes.
    :raises PayloadError: the body is not text, is empty, or is not a table.
    """
    text_of(body)
    body = csv_text.body(body, content_type, escaped)
    # Blank lines before the header are not rows; in a single column, each is a missing value.
    begin = csv_text.start(body)
    skipped = 0 if len(names) == 1 else begin
    width = len(names) or 1 + body.partition(b"\n")[0].count(b",")
    while True:
        columns = [str(place) for place in range(width)]
        data = pa.py_buffer(body).slice(skipped)
        try:
            return parse(data, dict.fromkeys(columns, pa.string()), columns, block=max(len(body) + 1, 1 << 16))
        except Ragged as error:
            if skipped < begin:
                skipped = begin
                continue
            if error.row == 1:
                # The first row says how many columns there are; a header may have more than the model takes.
                width = error.found
                continue
            if names:
                raise _wrong_width(error.found, error.row or 1, names, target) from error
            raise PayloadError(
                f"Row {error.row} has {error.found} values where the header has {error.wanted} columns."
            ) from error


def text_of(body: bytes) -> str:
    """Return a body as text.

    :raises PayloadError: it is not UTF-8, or empty.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PayloadError(f"The body is not UTF-8 text (byte offset {error.start}).") from error
    if not text.strip():
        raise PayloadError("The body is empty: send at least one row.")
    return text


def encode(answer: Mapping[str, Any], keys: Sequence[str], kind: str) -> tuple[bytes, str]:
    """Return a response and its content type.

    :param answer: what the model says (see :meth:`airflow_automl.local.models.artifacts.Predictor.answer`).
    :param keys: what the response holds, in this order.
    :param kind: CSV, JSON or JSON lines.
    """
    columns: dict[str, list[Any]] = {}
    count = len(answer["predicted_label"])
    for key in keys:
        if key == "labels":
            columns[key] = [[str(label) for label in answer["labels"]]] * count
        elif key == "predicted_label":
            found = list(answer[key])
            # Labels are text, as in the data's own CSV; the number of a regression is a number.
            columns[key] = [str(value) for value in found] if "labels" in answer else [float(value) for value in found]
        else:
            columns[key] = np.asarray(answer[key], dtype="float64").tolist()
    lines = zip(*columns.values(), strict=True)
    if kind == CSV:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(lines)
        return text.getvalue().encode(), f"{kind}; charset=utf-8"
    rows = [dict(zip(keys, values, strict=True)) for values in lines]
    if kind == JSON:
        return json.dumps({"predictions": rows}).encode(), kind
    return "".join(json.dumps(row) + "\n" for row in rows).encode(), kind


def media_type(kind: str) -> str:
    """A content type without its parameters, in the spelling that this module knows it by."""
    kind = kind.partition(";")[0].strip().lower()
    return _ALIASES.get(kind, kind)


def _require_width(row: Sequence[Any], number: int, names: Sequence[str], target: str | None) -> None:
    if len(row) != len(names):
        raise _wrong_width(len(row), number, names, target)


def _wrong_width(found: int, number: int, names: Sequence[str], target: str | None) -> PayloadError:
    hint = f" Leave out the target '{target}'." if target and found == len(names) + 1 else ""
    if len(names) == 1 < found:
        hint = " Put values that have commas into double quotes."
    return PayloadError(
        f"Row {number} has {found} values; the model takes {len(names)}, in this order: {listing(names, 30)}.{hint}"
    )


def _json_rows(text: str, names: list[str]) -> Iterable[Any]:
    document = parse_json(text)
    if len(names) == 1 and isinstance(document, str):
        return [document]
    if isinstance(document, dict):
        columns = document.get("columns")
        for key in ("instances", "data"):
            if isinstance(document.get(key), list):
                document = document[key]
                break
        else:
            return [document]
        if isinstance(columns, list):
            return _by_columns(document, columns, names)
    if not isinstance(document, list):
        raise PayloadError("The body must be a row (an object) or a list of rows.")
    # One flat list of values is one row, unless each value is one.
    flat = document and not any(isinstance(entry, dict | list) for entry in document)
    return [document] if flat and len(names) > 1 else document


def _by_columns(rows: list[Any], columns: list[Any], names: list[str]) -> Iterable[Any]:
    """Rows whose columns are named beside them, as pandas' ``orient="split"`` has them."""
    order, missing = locate(columns, names)
    if missing:
        raise PayloadError(f"The columns lack {listing(missing)}; they are {listing(columns, 30)}.")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != len(columns):
            raise PayloadError(f"Row {number} must be a list of {len(columns)} values, one for each of the columns.")
        yield [row[position] for position in order]


def parse_json(text: str, what: str = "The body") -> Any:
    """Read a JSON document.

    :param what: names it in the message.
    :raises PayloadError: it is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"{what} is not JSON: {error}.") from error


def json_lines(text: str) -> list[Any]:
    """Read a JSON document from each line that is not empty.

    :raises PayloadError: one is not JSON.
    """
    # Not splitlines(): strings in JSON may hold the line separators of Unicode.
    return [parse_json(line, f"Line {number}") for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _json_row(entry: Any, number: int, names: list[str], target: str | None) -> list[Any]:
    if isinstance(entry, dict) and isinstance(entry.get("features"), list) and "features" not in names:
        entry = entry["features"]
    if isinstance(entry, list):
        _require_width(entry, number, names, target)
        return entry
    if len(names) == 1 and not isinstance(entry, dict):
        return [entry]
    if not isinstance(entry, dict):
        raise PayloadError(f"Row {number} must be an object or a list of values, not {type(entry).__name__}.")
    with contextlib.suppress(KeyError):
        return [entry[name] for name in names]
    values = list(entry.values())
    order, missing = locate(list(entry), names)
    if missing:
        raise PayloadError(f"Row {number} lacks {listing(missing)}; use null for a missing value.")
    return [values[position] for position in order]


def response_keys(environment: Mapping[str, str], regression: bool) -> tuple[str, ...]:
    """What a container's environment asks to be answered (SAGEMAKER_INFERENCE_OUTPUT).

    :param environment: of the last container.
    :param regression: a regression knows no probabilities.
    :raises PayloadError: a key is not known, or not for this problem.
    """
    given = [key.strip() for key in environment.get("SAGEMAKER_INFERENCE_OUTPUT", "").split(",") if key.strip()]
    known = KEYS[:1] if regression else KEYS
    wrong = [key for key in given if key not in known]
    if wrong:
        raise PayloadError(
            f"SAGEMAKER_INFERENCE_OUTPUT asks for {listing(wrong)}; this model answers {listing(known)}."
        )
    return tuple(given) or KEYS[:1]
