"""AutoGluon's models: what they depend on, what they answer, and loading one again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.local.models.artifacts import answer_of
from airflow_automl.local.training.data.codec import Codec
from airflow_automl.local.training.engines.tabular.ensembling.features import Features
from airflow_automl.local.training.engines.tabular.ensembling.folds import shared_inputs

_LIBRARIES = {
    "LightGBM": "lightgbm",
    "CatBoost": "catboost",
    "XGBoost": "xgboost",
    "NeuralNetTorch": "torch",
    "NeuralNetFastAI": "fastai",
}
_ALWAYS = ("autogluon.tabular", "numpy", "pandas", "scikit-learn")


def distributions(models: Sequence[str]) -> list[str]:
    """Return what the files of some models depend on.

    :param models: AutoGluon's names, such as ``LightGBMXT``.
    """
    return [
        *_ALWAYS,
        *(library for prefix, library in _LIBRARIES.items() if any(name.startswith(prefix) for name in models)),
    ]


def answers(
    predictor: Any, rows: pd.DataFrame, model: str, labels: Sequence[float | str], transformed: bool = False
) -> np.ndarray:
    """Return the predictions of a model for rows, or probabilities in the order of the labels.

    :param transformed: whether the rows are as ``transform_features`` returns them.
    """
    options = {"model": model, "as_pandas": True, "transform_features": not transformed}
    found = predictor.predict_proba(rows, **options)[list(labels)] if labels else predictor.predict(rows, **options)
    return np.asarray(found, dtype="float64")


class AutoGluonStage:
    """A predictor that was cut down to one model and what that model needs.

    :param folder: the predictor's files.
    """

    def __init__(self, folder: Path, metadata: Mapping[str, Any]) -> None:
        from autogluon.tabular import TabularPredictor

        self._predictor = TabularPredictor.load(str(folder), verbosity=0)
        self._predictor.persist(models=[metadata["model"]], with_ancestors=True, max_memory=None)
        self._features = Features(self._predictor, [Codec.from_json(entry) for entry in metadata["features"]])
        self._shared = shared_inputs(self._predictor, self._features.examples)
        self._model = metadata["model"]
        self._labels = list(metadata["labels"])
        self._threshold = metadata["threshold"]

    def __call__(self, value: pd.DataFrame) -> dict[str, Any]:
        """See :class:`airflow_automl.local.models.artifacts.Stage`."""
        try:
            scores = answers(self._predictor, self._features(value), self._model, self._labels, transformed=True)
        finally:
            for shared in self._shared:
                shared.forget()
        return answer_of(scores, self._labels, self._threshold)


def load_stage(
    folder: Path, metadata: Mapping[str, Any], environment: Mapping[str, str], threads: int
) -> AutoGluonStage:
    """Open the files of an artefact; everything is in memory when this returns."""
    return AutoGluonStage(folder, metadata)
