"""Arrow table → pandas frame with the types that a model will see again when it is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from airflow_automl.local.training.data import types
from airflow_automl.local.training.data.failures import JobFailure
from airflow_automl.local.training.data.types import Kind

__all__ = ["Feature", "as_moments", "as_text", "conform", "convert", "kinds_for_roles", "to_frame"]


@dataclass(frozen=True)
class Feature:
    """One column that a model learns from.

    :param name: the column.
    :param kind: how its values are read.
    :param role: what the feature specification calls it (``numeric``, ``categorical``, ``text``, ``datetime``,
        ``sequence``), or ``auto``: then the engine decides.
    """

    name: str
    kind: Kind
    role: str = "auto"

    def as_json(self) -> dict[str, str]:
        """The feature as a model artefact keeps it."""
        return {"name": self.name, "kind": str(self.kind), "role": self.role}

    @classmethod
    def from_json(cls, document: Mapping[str, str]) -> Feature:
        """The feature that :meth:`as_json` wrote."""
        return cls(document["name"], Kind(document["kind"]), document.get("role", "auto"))


def to_frame(table: pa.Table, typed: bool) -> tuple[pd.DataFrame, dict[str, Kind]]:
    """Turn a table into a frame, column by column, so that each column is there twice only for a moment.

    :param table: CSV (strings) or Parquet (typed) columns.
    :param typed: whether the types of the columns are the data's own.
    :return: the frame, and what each column holds.
    :raises JobFailure: a Parquet column is nested or binary.
    """
    columns: dict[str, Any] = {}
    kinds: dict[str, Kind] = {}
    for name in table.column_names:
        values = table.column(name)
        if typed:
            known = types.kind_of(values)
            if known is None:
                raise JobFailure(f"The column '{name}' has the Parquet type {values.type}, which no engine can use.")
            values, kinds[name] = known
        else:
            values, kinds[name] = types.infer(values)
        columns[name] = _series(values, kinds[name])
    return pd.DataFrame(columns, copy=False), kinds


def _series(values: pa.ChunkedArray, kind: Kind) -> pd.Series:
    if kind.is_moment:
        return values.cast(pa.timestamp("ns"), safe=False).to_pandas()
    return values.to_pandas()


def convert(frame: pd.DataFrame, feature: Feature) -> pd.Series:
    """Give a column the type that a feature specification asks for.

    :param frame: holds the column.
    :param feature: its wanted kind.
    :raises JobFailure: not one value can be read that way.
    """
    values = frame[feature.name]
    if feature.kind is Kind.FLOAT:
        converted = pd.to_numeric(values, errors="coerce").astype("float64")
    elif feature.kind.is_moment:
        converted = as_moments(values, feature.kind, errors="coerce")
    else:
        converted = as_text(values)
    if converted.notna().sum() == 0 < values.notna().sum():
        raise JobFailure(
            f"The feature specification calls the column '{feature.name}' {feature.role}, "
            f"but none of its values can be read that way (for example '{values.dropna().iloc[0]}')."
        )
    return converted


def conform(frame: pd.DataFrame, features: Sequence[Feature]) -> pd.DataFrame:
    """Give rows from anywhere the types of the training data.

    :param frame: holds at least the features' columns.
    :param features: what a model learned from.
    :return: a frame of the features alone, in their order.
    :raises KeyError: a column is missing.
    :raises ValueError: a value is no number or no date where one is needed.
    """
    columns = {feature.name: _conformed(frame[feature.name], feature.kind) for feature in features}
    return pd.DataFrame(columns, index=frame.index, copy=False)


def _conformed(values: pd.Series, kind: Kind) -> pd.Series:
    if kind is Kind.TEXT:
        strings = values.dtype == object and pd.api.types.infer_dtype(values, skipna=True) in {"string", "empty"}
        return values if strings else as_text(values)
    if kind.is_moment:
        return as_moments(values, kind)
    return values if values.dtype.kind in "iuf" else pd.to_numeric(values).astype("float64")


def as_moments(values: pd.Series, kind: Kind, errors: Literal["raise", "coerce"] = "raise") -> pd.Series:
    """Dates and times without a zone, in UTC where they had one; a day comes first where it did in the training data.

    :param values: texts in any usual form, or moments already.
    :param kind: one of the kinds of moments.
    :param errors: ``coerce`` makes what is no date a missing one.
    :raises ValueError: a value is no date, with ``errors="raise"``.
    """
    if values.dtype.kind == "M":
        return values
    first = kind is Kind.DAY_FIRST
    return pd.to_datetime(values, errors=errors, format="mixed", dayfirst=first, utc=True).dt.tz_localize(None)


def as_text(values: pd.Series) -> pd.Series:
    """Values as strings, missing ones as ``None``; whole numbers without a decimal point."""
    if pd.api.types.is_float_dtype(values.dtype):
        whole = values.dropna()
        if (whole == whole.round()).all() and (whole.abs() < 2**63).all():
            values = values.astype("Int64")
    text = values.astype("object").where(values.notna(), None)
    return text.map(lambda value: value if value is None else str(value))


def kinds_for_roles(names: Sequence[str], kinds: Mapping[str, Kind], roles: Mapping[str, str]) -> tuple[Feature, ...]:
    """The features, each with the kind that its role asks for where it was given one."""
    by_role = {
        "numeric": Kind.FLOAT,
        "categorical": Kind.TEXT,
        "text": Kind.TEXT,
        "sequence": Kind.TEXT,
        "datetime": Kind.DATETIME,
    }
    features = []
    for name in names:
        role = roles.get(name, "auto")
        kind = by_role.get(role, kinds[name])
        if (role == "numeric" and kinds[name] is Kind.INTEGER) or (role == "datetime" and kinds[name].is_moment):
            kind = kinds[name]
        features.append(Feature(name, kind, role))
    return tuple(features)
