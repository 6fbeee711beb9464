"""Rows in the form that AutoGluon's models were trained on.

For one row, the generic steps of AutoGluon's feature pipeline take longer than the trees. Most steps treat each value
of a column by itself, and what they learned says what becomes of it. A table of that makes the same features, bit by
bit: when a model is loaded, this is tried with every value that a column knows. Other steps, such as those of dates and
long texts, are run as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.local.training.data.codec import Codec

TARGET, WEIGHT = "target", "weight"
"""AutoGluon's names of the columns that are not features."""

_RAW = "_raw_text"
"""What AutoGluon appends to the names of texts that it passes on as they are."""

_BY_VALUE = {"AsType", "FillNa", "Identity", "Category", "DropUnique", "DropDuplicates"}
"""AutoGluon's generators that look at nothing but a value and what they learned about its column."""


def prepare(frame: pd.DataFrame, features: Sequence[Codec], others: Sequence[str | None] = ()) -> pd.DataFrame:
    """Return rows as AutoGluon takes them: with names that every algorithm takes, and categories typed as such.

    :param frame: the features as their codecs read them, and the other columns.
    :param others: names of the target and of the weights, if they are to be in it.
    """
    columns = {feature.name: f"c{place}" for place, feature in enumerate(features)}
    columns |= {name: new for name, new in zip(others, (TARGET, WEIGHT), strict=False) if name is not None}
    # AutoGluon takes labels of rows for positions where a date is missing.
    rows = frame[list(columns)].rename(columns=columns).reset_index(drop=True)
    roles = [columns[feature.name] for feature in features if feature.role == "categorical"]
    return rows.astype(dict.fromkeys(roles, "category")) if roles else rows


class Features:
    """Rows as their codecs read them → features as AutoGluon's models take them.

    :param predictor: AutoGluon's.
    :param codecs: of the features that it was trained on.
    """

    def __init__(self, predictor: Any, codecs: Sequence[Codec]) -> None:
        self._pipeline = predictor.transform_features
        self._codecs = codecs
        self._names = {f"c{place}": codec.name for place, codec in enumerate(codecs)}
        self._truths: dict[str, Any] = {}
        self._codes: dict[str, dict[Any, int]] = {}
        steps = [step for each in predictor._learner.feature_generators for stage in each.generators for step in stage]
        filled: dict[str, Any] = {}
        for step in steps:
            self._truths |= getattr(step, "_bool_features", {})
            filled |= getattr(step, "_fillna_feature_map", {})
            for name, known in (getattr(step, "category_map", None) or {}).items():
                self._codes[name] = codes = {value: code for code, value in enumerate(known)}
                codes[None] = codes.get(filled.get(name), -1)
        rows = self._every_value()
        #: The features of rows that have all values.
        self.examples = self._pipeline(prepare(rows, codecs))
        self._made = self.examples.dtypes.to_dict()
        self._others = [step for step in steps if type(step).__name__.removesuffix("FeatureGenerator") not in _BY_VALUE]
        self._known = self._of(rows).equals(self.examples)

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Make the features of rows."""
        return self._of(rows) if self._known else self._pipeline(prepare(rows, self._codecs))

    def _of(self, rows: pd.DataFrame) -> pd.DataFrame:
        columns: dict[str, Any] = {}
        for step in self._others:
            given = rows[[self._names[name] for name in step.features_in]].set_axis(step.features_in, axis=1)
            columns |= dict(step.transform(given.fillna(dict.fromkeys(given.select_dtypes("object"), ""))).items())
        for name, kind in self._made.items():
            if name in columns:
                continue
            values = rows[self._names[name.removesuffix(_RAW)]].to_numpy()
            if name.endswith(_RAW):
                columns[name] = np.where(pd.isna(values), "", values)
            elif name in self._truths:
                columns[name] = (values == self._truths[name]).astype("int8")
            elif name in self._codes:
                codes = np.fromiter(map(self._codes[name].get, values, repeat(-1)), "int64", len(values))
                columns[name] = pd.Categorical.from_codes(codes, dtype=kind)
            else:
                columns[name] = values
        return pd.DataFrame(columns, index=rows.index, columns=list(self._made), copy=False)

    def _every_value(self) -> pd.DataFrame:
        columns = {}
        for (name, given), codec in zip(self._names.items(), self._codecs, strict=True):
            values: list[Any] = [*self._codes.get(name, ()), *([self._truths[name]] if name in self._truths else ())]
            if codec.numeric:
                columns[given] = pd.Series([*values, 0.0, -1.5, 1e300, np.nan], dtype="float64")
            elif codec.moment:
                columns[given] = pd.Series([*values, pd.Timestamp("2024-02-29 12:30:15"), None], dtype="datetime64[ns]")
            else:
                columns[given] = pd.Series([*values, None, "", "no value of the training data"], dtype="object")
        count = max(map(len, columns.values()))
        return pd.DataFrame({name: np.resize(column.to_numpy(), count) for name, column in columns.items()})
