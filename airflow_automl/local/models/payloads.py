"""Request bodies → rows, and predictions → response bodies, in Autopilot's formats."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.exceptions import AutoMLTerminalError
from airflow_automl.local.training.data.failures import listing
from airflow_automl.local.training.data.frame import Feature, as_moments
from airflow_automl.local.training.data.types import NULLS, NUMERIC_NULLS, Kind

__all__ = [
    "CSV",
    "JSON",
    "JSON_LINES",
    "KEYS",
    "PayloadError",
    "decode",
    "encode",
    "media_type",
    "negotiate",
    "response_keys",
]

CSV = "text/csv"
JSON = "application/json"
JSON_LINES = "application/jsonlines"
_ALIASES = {"application/x-jsonlines": JSON_LINES, "application/jsonl": JSON_LINES, "application/x-ndjson": JSON_LINES}
_TYPES = (CSV, JSON, JSON_LINES)

KEYS = ("predicted_label", "probability", "probabilities", "labels")
"""What a response can hold; a regression has only the first."""

_MISSING = frozenset({*NULLS, *NUMERIC_NULLS})


class PayloadError(AutoMLTerminalError):
    """A request body that the model can't take; the message says what is wrong with which row or column."""


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
    body: bytes, content_type: str | None, features: Sequence[Feature], target: str | None = None
) -> pd.DataFrame:
    """Read the rows of a request.

    CSV has no header; one that names the model's columns is tolerated, in any order. JSON is a row or a list of rows,
    also under ``instances``; JSON lines have a row in each line. A row is an object (other members than the model's
    columns are ignored) or a list of values in the order of the columns, also under ``features``.
    Where the model takes one column only, a bare value is a row as well.

    :param body: the request's body.
    :param content_type: its type; CSV when there is none.
    :param features: what the model learned from.
    :param target: the target's name, to recognize it as a surplus column.
    :return: a frame with the features, typed as in training.
    :raises PayloadError: the body can't be read as rows for this model.
    """
    kind = media_type(content_type or CSV) or CSV
    if kind not in _TYPES:
        raise PayloadError(f"The model can't read the content type {content_type}; it reads {listing(_TYPES)}.")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PayloadError(f"The body is not UTF-8 text (byte offset {error.start}).") from error
    if not text.strip():
        raise PayloadError("The body is empty: send at least one row.")
    names = [feature.name for feature in features]
    if kind == CSV:
        rows = _csv_rows(text, names, target)
    else:
        documents = _json_lines(text) if kind == JSON_LINES else _json_rows(text, len(names))
        rows = [_json_row(entry, number, names, target) for number, entry in enumerate(documents, 1)]
    if not rows:
        raise PayloadError("The body has no rows.")
    columns = zip(*rows, strict=True)
    return pd.DataFrame({f.name: _column(values, f) for f, values in zip(features, columns, strict=True)}, copy=False)


def encode(answer: Mapping[str, Any], keys: Sequence[str], kind: str) -> bytes:
    """Write a response.

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
    rows = [dict(zip(keys, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if kind == JSON:
        return json.dumps({"predictions": rows}).encode()
    if kind == JSON_LINES:
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(row.values() for row in rows)
    return text.getvalue().encode()


def media_type(kind: str) -> str:
    """A content type without its parameters, in the spelling that this module knows it by."""
    kind = kind.partition(";")[0].strip().lower()
    return _ALIASES.get(kind, kind)


def _csv_rows(text: str, names: list[str], target: str | None) -> list[list[Any]]:
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise PayloadError(f"The body is not CSV: {error}.") from error
    if not rows:
        raise PayloadError("The body has no rows.")
    head = [value.strip() for value in rows[0]]
    # The only text of a request may be the name of its column.
    lone = len(names) == 1 == len(rows)
    if len(head) == len(names) and sorted(head) == sorted(names) and not lone:
        order = [head.index(name) for name in names]
        for number, row in enumerate(rows[1:], 1):
            _require_width(row, number, names, target)
        return [[row[position] for position in order] for row in rows[1:]]
    for number, row in enumerate(rows, 1):
        _require_width(row, number, names, target)
    return list(rows)


def _require_width(row: Sequence[Any], number: int, names: list[str], target: str | None) -> None:
    if len(row) == len(names):
        return
    hint = f" Leave out the target '{target}'." if target and len(row) == len(names) + 1 else ""
    if len(names) == 1 < len(row):
        hint = " Put values that have commas into double quotes."
    raise PayloadError(
        f"Row {number} has {len(row)} values; the model takes {len(names)}, in this order: {listing(names, 30)}.{hint}"
    )


def _json_rows(text: str, width: int) -> Iterable[Any]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise PayloadError(f"The body is not JSON: {error}.") from error
    if width == 1 and isinstance(document, str):
        return [document]
    if isinstance(document, dict):
        for key in ("instances", "data"):
            if isinstance(document.get(key), list):
                document = document[key]
                break
        else:
            return [document]
    if not isinstance(document, list):
        raise PayloadError("The body must be a row (an object) or a list of rows.")
    # One flat list of values is one row, unless each value is one.
    flat = document and not any(isinstance(entry, dict | list) for entry in document)
    return [document] if flat and width > 1 else document


def _json_lines(text: str) -> Iterable[Any]:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise PayloadError(f"Line {number} is not JSON: {error}.") from error
    return rows


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
    missing = [name for name in names if name not in entry]
    if missing:
        raise PayloadError(f"Row {number} lacks {listing(missing)}; use null for a missing value.")
    return [entry[name] for name in names]


def _column(values: Sequence[Any], feature: Feature) -> Any:
    if feature.kind.is_moment:
        return _moments(values, feature)
    if feature.kind is Kind.TEXT:
        return np.array([_text(value) for value in values], dtype=object)
    numbers = [_number(value, number, feature) for number, value in enumerate(values, 1)]
    whole = feature.kind is Kind.INTEGER and all(number.is_integer() and abs(number) < 2**63 for number in numbers)
    return np.array(numbers, dtype="int64" if whole else "float64")


def _text(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value in NULLS):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else str(value)


def _number(value: Any, row: int, feature: Feature) -> float:
    if value is None:
        return math.nan
    if isinstance(value, str):
        value = value.strip()
        if value in _MISSING:
            return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise PayloadError(
            f"Row {row}: the column '{feature.name}' takes a number, not '{str(value)[:60]}'."
        ) from error


def _moments(values: Sequence[Any], feature: Feature) -> pd.Series:
    texts = pd.Series([_text(value) for value in values], dtype=object)
    moments = as_moments(texts, feature.kind, errors="coerce")
    unread = texts[moments.isna() & texts.notna()]
    if len(unread):
        raise PayloadError(
            f"Row {unread.index[0] + 1}: the column '{feature.name}' takes a date, not '{str(unread.iloc[0])[:60]}'."
        )
    return moments.astype("datetime64[ns]")


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
