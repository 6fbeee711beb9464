"""The feature specification of a job: which columns are features, and of what type (R60 to R64)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.training.data.columns import trimmed

_NAMES = "FeatureAttributeNames"
_TYPES = "FeatureDataTypes"
_ALLOWED = {
    "ENSEMBLING": ("numeric", "categorical", "text", "datetime"),
    "HYPERPARAMETER_TUNING": ("numeric", "categorical", "text", "datetime", "sequence"),
    "TimeSeriesForecasting": ("numeric", "categorical", "text", "datetime"),
}


@dataclass(frozen=True)
class FeatureSpecification:
    """Features and their given types.

    :param names: the columns to learn from, in the order of the data.
    :param types: column → ``numeric``, ``categorical``, ``text``, ``datetime`` or ``sequence``; only those given.
    """

    names: tuple[str, ...]
    types: dict[str, str] = field(default_factory=dict)


def parse(
    document: Any, uri: str, columns: Sequence[str], reserved: Mapping[str, str], mode: str
) -> FeatureSpecification:
    """Check a feature specification against the data.

    :param document: the parsed JSON.
    :param uri: its address, for messages.
    :param columns: the columns of the data.
    :param reserved: columns that can't be features, such as the target → what they are (R61, R64, R66).
    :param mode: ``ENSEMBLING``, ``HYPERPARAMETER_TUNING`` or ``TimeSeriesForecasting``: they know different types
        (R62, R64).
    :raises JobFailure: the document has another shape, or names columns that are not features.
    """
    where = f"The feature specification {uri}"
    if not isinstance(document, dict) or not set(document) <= {_NAMES, _TYPES}:
        got = listing(document) if isinstance(document, dict) else type(document).__name__
        raise JobFailure(f"{where} must be a JSON object with {_NAMES} and/or {_TYPES}; it has {got}.")
    names = document.get(_NAMES)
    types = document.get(_TYPES)
    if names is not None and not _strings(names):
        raise JobFailure(f"{_NAMES} of {uri} must be a list of column names.")
    if types is not None and not (isinstance(types, dict) and _strings(list(types.values()))):
        raise JobFailure(f"{_TYPES} of {uri} must map column names to types.")
    # Blanks around a name are ignored, as in a header.
    names = names if names is None else [trimmed(name) for name in names]
    types = types if types is None else {trimmed(str(name)): kind for name, kind in types.items()}
    for key, given in ((_NAMES, names or []), (_TYPES, list(types or {}))):
        _check_columns(f"{key} of {uri}", given, columns, reserved)
    if names is not None and not names and mode != "TimeSeriesForecasting":
        raise JobFailure(f"{_NAMES} of {uri} is empty: leave it out to learn from all columns.")
    for column, kind in (types or {}).items():
        if kind not in _ALLOWED[mode]:
            raise JobFailure(
                f"{_TYPES} of {uri} gives '{column}' the type '{kind}'; {mode} knows {listing(_ALLOWED[mode])}."
            )
    if names is not None and types is not None:
        outside = [column for column in types if column not in names]
        if outside:
            raise JobFailure(f"{_TYPES} of {uri} names {listing(outside)}, which {_NAMES} does not.")
    chosen = set(names) if names is not None else set(columns) - set(reserved)
    return FeatureSpecification(tuple(column for column in columns if column in chosen), dict(types or {}))


def _strings(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _check_columns(what: str, given: Sequence[str], columns: Sequence[str], reserved: Mapping[str, str]) -> None:
    twice = sorted({name for name in given if list(given).count(name) > 1})
    if twice:
        raise JobFailure(f"{what} names '{twice[0]}' more than once.")
    for name in given:
        if name in reserved:
            raise JobFailure(f"{what} names the {reserved[name]} '{name}', which can't be a feature.")
    unknown = [name for name in given if name not in columns]
    if unknown:
        raise JobFailure(f"{what} names {listing(unknown)}, not in the data; its columns are {listing(columns)}.")
