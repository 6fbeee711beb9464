"""Trains ImageClassification jobs: a frozen backbone and a small network, chosen on validation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.classification.engine import Problem
from airflow_automl.local.training.engines.classification.engine import train as train_candidates
from airflow_automl.local.training.engines.image import data, pictures
from airflow_automl.local.training.engines.image.backbone import Backbone
from airflow_automl.local.training.engines.image.cnn import Cnn

_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")


class ImageClassification(Problem):
    """Classifies images, one a file."""

    name = "ImageClassification"
    engine = "image"
    approaches = (Backbone(), Cnn())
    method = "How much the probability of the predicted class changes when a ninth of the image is greyed out, in"

    def apart(self, item: Path) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """Return the picture, and the picture without each of nine fields."""
        whole = data.opened(item)
        grey = whole.mean(axis=(0, 1)).astype("uint8")
        edges = np.linspace(0, pictures.SIZE, 4).astype(int)
        parts = {}
        for row, above in enumerate(_ROWS):
            for column, beside in enumerate(_COLUMNS):
                part = whole.copy()
                part[edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = grey
                parts[f"{above} {beside}"] = part
        return whole, parts

    def opened(self, item: Path) -> np.ndarray:
        return data.opened(item)

    def shown(self, item: Path) -> dict[str, str]:
        return {"image": pictures.inlined(data.opened(item))}


def train(run: Run) -> str:
    """Train ImageClassificationJobConfig jobs; see :data:`airflow_automl.local.training.engines.base.Engine`."""
    run.events.phase("AnalyzingData")
    samples = data.load(run, run.folder / "pictures")
    return train_candidates(run, ImageClassification({"bits": samples.bits}), samples)
