"""The target as the algorithms learn it, and their answers on its own scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Target:
    """How a target is learned.

    :param classes: how many classes there are; 0 for regression.
    :param logarithmic: regression: whether the logarithm of 1 + the target is learned.
    :param centre: regression: what is subtracted, after the logarithm.
    :param spread: regression: what is divided by.
    """

    classes: int
    logarithmic: bool = False
    centre: float = 0.0
    spread: float = 1.0

    @classmethod
    def fit(cls, values: np.ndarray, classes: int, logarithmic: bool = False) -> Target:
        """Settle the scale of a target.

        :param values: class numbers, or the values of a regression.
        :param classes: how many classes there are; 0 for regression.
        :param logarithmic: regression: learn the logarithm.
        """
        if classes:
            return cls(classes)
        scaled = np.log1p(values) if logarithmic else values
        spread = float(scaled.std())
        return cls(0, logarithmic, float(scaled.mean()), spread if spread > 0 else 1.0)

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Values as an algorithm learns them."""
        if self.classes:
            return values
        return ((np.log1p(values) if self.logarithmic else values) - self.centre) / self.spread

    def decode(self, answers: np.ndarray) -> np.ndarray:
        """An algorithm's answers as predictions; probabilities stay what they are."""
        if self.classes:
            return answers
        values = np.asarray(answers, dtype="float64") * self.spread + self.centre
        # A logarithm that runs away must not become infinity.
        return np.expm1(np.clip(values, -50.0, 50.0)) if self.logarithmic else values

    def as_json(self) -> dict[str, Any]:
        """The target as a model artefact keeps it."""
        return {
            "classes": self.classes,
            "logarithmic": self.logarithmic,
            "centre": self.centre,
            "spread": self.spread,
        }


def may_be_logarithmic(values: np.ndarray) -> bool:
    """Whether the logarithm of a regression's target is worth trying: no negative values, and a long upper tail."""
    if len(values) == 0 or values.min() < 0:
        return False
    median, high = np.quantile(values, [0.5, 0.99])
    return bool(high > 3 * max(median, 1e-12))


def balanced_weights(codes: np.ndarray, classes: int) -> np.ndarray:
    """Weights that give every class the same say."""
    counts = np.bincount(codes, minlength=classes).astype("float64")
    seen = counts > 0
    per_class = np.zeros(classes)
    per_class[seen] = len(codes) / (seen.sum() * counts[seen])
    return np.asarray(per_class[codes])
