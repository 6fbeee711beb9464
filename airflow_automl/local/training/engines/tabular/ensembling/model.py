"""AutoGluon's models: rows in the form they were trained on, and loading one again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.local.models.artifacts import answer_of
from airflow_automl.local.training.data.frame import Feature

__all__ = ["AutoGluonStage", "distributions", "load_stage", "prepare"]

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


class AutoGluonStage:
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
        self._threshold = float(metadata["threshold"])

    def __call__(self, value: pd.DataFrame) -> dict[str, Any]:
        """See :class:`airflow_automl.local.models.artifacts.Stage`."""
        frame = prepare(value[[feature.name for feature in self._features]], self._features)
        if not self._labels:
            scores = self._predictor.predict(frame, model=self._model, as_pandas=False)
        else:
            scores = self._predictor.predict_proba(frame, model=self._model)[self._labels].to_numpy()
        return answer_of(np.asarray(scores, dtype="float64"), self._labels, self._threshold)


def load_stage(
    folder: Path, metadata: Mapping[str, Any], environment: Mapping[str, str], threads: int
) -> AutoGluonStage:
    """Open the files of an artefact; everything is in memory when this returns."""
    return AutoGluonStage(folder, metadata)
