"""The two or three containers of a tuned candidate, as the model host runs them one after the other.

Like Autopilot's, the first and the third container of a classification are the same artefact; their environment says
which of the two they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.local.models.artifacts import ArtifactError, Threshold, answer_of
from airflow_automl.local.training.engines.tabular.tuning.features import FeatureTransformer
from airflow_automl.local.training.engines.tabular.tuning.learners import Blend, Model, TrainedAlgorithm

PROCESSOR, ALGORITHM = "processor", "algorithm"
"""What an artefact is: its ``role`` in the metadata."""

MODE, ENCODE, DECODE = "AUTOML_TRANSFORM_MODE", "feature-transform", "inverse-label-transform"
"""The environment variable that tells the first container from the third, and its values."""

LABELS = "labels.json"


@dataclass(frozen=True)
class Processor:
    """The first container: rows → one view of them. The third: class numbers → the classes' names.

    :param transformer: what was learned about the columns.
    :param view: the view that the algorithm takes.
    :param labels: in the order of the class numbers.
    :param mode: which of the two it is; ``None`` lets the value decide.
    """

    transformer: FeatureTransformer
    view: str
    labels: tuple[float | str, ...]
    mode: str | None

    def __call__(self, value: Any) -> Any:
        """See :class:`airflow_automl.local.models.artifacts.Stage`."""
        rows = isinstance(value, pd.DataFrame)
        if self.mode is not None and rows != (self.mode == ENCODE):
            raise ArtifactError(
                f"The container with {MODE}={self.mode} is at the wrong place in the model: take the candidate's "
                "InferenceContainers in their order."
            )
        return self.transformer.transform(value, self.view) if rows else self._decode(value)

    def _decode(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        chosen = [self.labels[int(code)] for code in answer["predicted_label"]]
        return {**answer, "predicted_label": chosen, "labels": list(self.labels)}


@dataclass(frozen=True)
class Algorithm:
    """The second container: a view of the rows → predictions, or class numbers and their probabilities.

    :param model: the trained algorithm, or the mean of several.
    :param threshold: how a row's class is chosen.
    """

    model: Model
    threshold: Threshold

    def __call__(self, value: Any) -> dict[str, Any]:
        """See :class:`airflow_automl.local.models.artifacts.Stage`."""
        if isinstance(value, pd.DataFrame):
            raise ArtifactError(
                f"The {self.model.algorithm} container takes what the feature transformer answers, not rows: take all "
                "of the candidate's InferenceContainers."
            )
        scores = np.atleast_1d(self.model.scores(value))
        codes = list(range(self.model.target.classes))
        answer = answer_of(scores, codes, self.threshold, positive_probability=True)
        # It never knows the labels: those are the third container's.
        answer.pop("labels", None)
        return answer


def load_stage(
    folder: Path, metadata: Mapping[str, Any], environment: Mapping[str, str], threads: int
) -> Processor | Algorithm:
    """Open the files of an artefact; there is no code in them."""
    if metadata["role"] == ALGORITHM:
        kind: type[Model] = Blend if "members" in metadata else TrainedAlgorithm
        return Algorithm(kind.load(folder, threads), metadata["threshold"])
    labels = tuple(json.loads((folder / LABELS).read_text()))
    return Processor(FeatureTransformer.load(folder), metadata["view"], labels, environment.get(MODE))
