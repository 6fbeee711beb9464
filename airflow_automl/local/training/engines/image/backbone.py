"""Features of a frozen EfficientNet-Lite0, and a logistic regression on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.models import weights
from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.engines.classification import head
from airflow_automl.local.training.engines.classification.head import Head
from airflow_automl.local.training.engines.classification.onnx_session import open_session
from airflow_automl.local.training.engines.classification.samples import Samples
from airflow_automl.local.training.engines.course import Clock, TimeIsUp
from airflow_automl.local.training.engines.image import checkpoint, efficientnet, network
from airflow_automl.local.training.engines.image.data import opened
from airflow_automl.local.training.engines.image.network import Network

NAME = "efficientnet-lite0"

_BATCH = 16
_STRENGTHS = (0.001, 0.01, 0.1, 1.0)
_HEAD_SHARE = 0.15
"""Share of the time that is kept for the head."""


class Backbone:
    """See :class:`airflow_automl.local.training.engines.classification.approach.Approach`."""

    name = NAME

    def missing(self) -> str | None:
        """What weights are not there."""
        try:
            weights.locate(NAME)
        except JobFailure as failure:
            return failure.reason
        return None

    def train(self, samples: Samples, clock: Clock, threads: int) -> Network:
        """Compute features, train the head; if the time is short, on those images that were done in time."""
        state = checkpoint.read_state(weights.locate(NAME))
        session = open_session(efficientnet.build(state), threads)
        looking = clock.part(1 - _HEAD_SHARE)
        measured = _features(session, samples.validation, looking)
        if len(measured) < len(samples.validation):
            raise TimeIsUp
        order = np.random.default_rng(SEED).permutation(len(samples.train))
        features = _features(session, [samples.train[position] for position in order], looking)
        codes = samples.train_codes[order[: len(features)]]
        classes = len(samples.labels)
        if len(np.unique(codes)) < classes:
            raise TimeIsUp
        mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-3
        features, measured = (features - mean) / deviation, (measured - mean) / deviation
        truth = samples.validation_codes
        fitted = head.fit(features, codes, measured, truth, classes, _STRENGTHS, clock, samples.own)
        # The head's own weights take the features as they are.
        weight = fitted.head.weights / deviation[:, None]
        plain = Head(weight, fitted.head.bias - mean @ weight)
        notes = []
        if len(features) < len(samples.train):
            notes.append(f"{NAME} learned from {len(features)} of {len(samples.train)} images: its time was over.")
        settings = {"backbone": NAME, "strength": fitted.strength}
        return Network(efficientnet.build(state, plain), threads, fitted.probabilities, settings, notes)


def _features(session: Any, files: Sequence[Path], clock: Clock) -> np.ndarray:
    """The features of the first pictures, as many as there is time for."""
    found = []
    for start in range(0, len(files), _BATCH):
        if clock.passed:
            break
        found.append(network.run(session, [opened(path) for path in files[start : start + _BATCH]]))
    return np.concatenate(found) if found else np.empty((0, efficientnet.FEATURES), dtype="float32")
