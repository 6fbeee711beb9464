"""A trained network: one ONNX model from pictures to probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from airflow_automl.local.training.engines.classification.onnx_session import open_session

FILE = "model.onnx"

_BATCH = 16


def run(session: Any, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """What a model answers for some pictures.

    :param session: of a model with the input ``images``.
    :param pictures: 224 by 224 by 3 each, values from 0 to 255.
    """
    answers = [
        session.run(None, {"images": np.stack(pictures[start : start + _BATCH]).astype("float32")})[0]
        for start in range(0, len(pictures), _BATCH)
    ]
    found: np.ndarray = np.concatenate(answers)
    return found


class Network:
    """See :class:`airflow_automl.local.training.engines.classification.approach.Trained`.

    :param model: the ONNX model.
    :param threads: how many threads a prediction may use.
    :param probabilities: its answers for the validation samples.
    :param settings: what was chosen.
    :param notes: on how it was trained.
    """

    def __init__(
        self,
        model: bytes,
        threads: int,
        probabilities: np.ndarray,
        settings: Mapping[str, Any],
        notes: Sequence[str] = (),
    ) -> None:
        self._model, self._threads = model, threads
        self._session = open_session(model, threads)
        self.probabilities = probabilities
        self.settings = settings
        self.notes = notes

    def __reduce__(self) -> tuple[Any, ...]:
        # A session belongs to its process; another one opens the same model.
        return Network, (self._model, self._threads, self.probabilities, self.settings, self.notes)

    def predict(self, items: Sequence[np.ndarray]) -> np.ndarray:
        """The probability of each class for some pictures."""
        return run(self._session, items)

    def save(self, folder: Path) -> None:
        """Write the model."""
        (folder / FILE).write_bytes(self._model)
