"""AutoGluon's models: rows in the form they were trained on, and loading one again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.local.data.frame import Feature

__all__ = ["AutoGluonModel", "distributions", "load", "prepare"]

_LIBRARIES = {
    "LightGBM": "lightgbm",
    "CatBoost": "catboost",
    "XGBoost": "xgboost",
    "NeuralNetTorch": "torch",
    "NeuralNetFastAI": "fastai",
}
_ALWAYS = ("autogluon.tabular", "numpy", "pandas", "scikit-learn")


def distributions(models: Sequence[str]) -> list[str]:
    """What the files of some models depend on.

    :param models: AutoGluon's names, such as ``LightGBMXT``.
    """
    return [
        *_ALWAYS,
        *(library for prefix, library in _LIBRARIES.items() if any(name.startswith(prefix) for name in models)),
    ]


def prepare(frame: pd.DataFrame, features: Sequence[Feature]) -> pd.DataFrame:
    """Give the columns that a feature specification calls categorical AutoGluon's type for it.

    :param frame: the features, typed by their kind.
    :param features: what they are.
    """
    roles = [feature.name for feature in features if feature.role == "categorical"]
    return frame.astype(dict.fromkeys(roles, "category")) if roles else frame


class AutoGluonModel:
    """A predictor that was cut down to one model and what that model needs.

    :param folder: the predictor's files.
    :param metadata: of the artefact.
    """

    def __init__(self, folder: Path, metadata: Mapping[str, Any]) -> None:
        from autogluon.tabular import TabularPredictor

        self._predictor = TabularPredictor.load(str(folder), verbosity=0)
        self._predictor.persist(models=[metadata["model"]], with_ancestors=True, max_memory=None)
        self._features = [Feature.from_json(entry) for entry in metadata["features"]]
        self._model = metadata["model"]
        self._labels = list(metadata["labels"])

    def scores(self, rows: pd.DataFrame) -> np.ndarray:
        """See :class:`airflow_automl.local.artifacts.Model`."""
        frame = prepare(rows[[feature.name for feature in self._features]], self._features)
        if not self._labels:
            return np.asarray(self._predictor.predict(frame, model=self._model, as_pandas=False), dtype="float64")
        found = self._predictor.predict_proba(frame, model=self._model, as_pandas=True)
        return np.asarray(found[self._labels].to_numpy(), dtype="float64")


def load(folder: Path, metadata: Mapping[str, Any]) -> AutoGluonModel:
    """Open the files of an artefact; everything is in memory when this returns."""
    return AutoGluonModel(folder, metadata)
