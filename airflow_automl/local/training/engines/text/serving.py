"""The container of a text classification, as the model host runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from airflow_automl.local.models.artifacts import answer_of
from airflow_automl.local.training.engines.classification import blend
from airflow_automl.local.training.engines.classification.approach import Trained
from airflow_automl.local.training.engines.text.minilm import MiniLm, TrainedMiniLm
from airflow_automl.local.training.engines.text.tfidf import Tfidf, TrainedTfidf


@dataclass(frozen=True)
class Classifier:
    """Rows with one text each → labels and their probabilities; a missing text is an empty one.

    :param model: the trained candidate.
    :param labels: in the order of its classes.
    """

    model: Trained
    labels: tuple[str, ...]

    def __call__(self, value: pd.DataFrame) -> dict[str, Any]:
        """See :class:`airflow_automl.local.models.artifacts.Stage`."""
        texts = ["" if text is None else str(text) for text in value.iloc[:, 0].tolist()]
        return answer_of(self.model.predict(texts), self.labels)


def load_stage(folder: Path, metadata: Mapping[str, Any], environment: Mapping[str, str], threads: int) -> Classifier:
    """Open the files of an artefact; there is no code in them."""
    openers = {MiniLm.name: lambda path: TrainedMiniLm.load(path, threads), Tfidf.name: TrainedTfidf.load}
    return Classifier(blend.load(folder, metadata, openers), tuple(metadata["labels"]))
