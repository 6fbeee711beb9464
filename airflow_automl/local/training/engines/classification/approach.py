"""What a way of classifying must do to become a candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from airflow_automl.local.training.engines.classification.samples import Samples
from airflow_automl.local.training.engines.course import Clock


class Trained(Protocol):
    """A trained candidate."""

    @property
    def probabilities(self) -> np.ndarray:
        """Its answers for the validation samples, in the order of the labels."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """What was chosen, for the artefact's metadata; JSON-serializable."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Sentences on how it was trained that a person should know."""
        ...

    def predict(self, items: Sequence[Any]) -> np.ndarray:
        """The probability of each class, for items as they are served: texts, or pictures in memory."""
        ...

    def save(self, folder: Path) -> None:
        """Write what serving needs, as data without code."""
        ...


class Approach(Protocol):
    """A way of classifying.

    :param name: of the algorithm, in lower case.
    """

    name: str

    def missing(self) -> str | None:
        """Why it can't be used here (the message says what to install), ``None`` if it can."""
        ...

    def train(self, samples: Samples, clock: Clock, threads: int) -> Trained:
        """Train and measure.

        :raises TimeIsUp: the time was over before there was anything to measure.
        """
        ...
