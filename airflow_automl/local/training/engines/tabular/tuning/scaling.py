"""Numbers → the scale that linear models and neural networks learn well on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_CLIP = 8.0
_REFERENCES = 129

_CHUNK = 100_000
"""Rows that are scaled at a time: the work in between takes several times the memory of the rows."""


@dataclass(frozen=True)
class Scaler:
    """Scales columns of numbers and marks what was missing.

    :param quantiles: ``None``: columns get mean 0 and deviation 1; else the reference points that map each column's
        ranks to a normal distribution, shape (references, columns).
    :param centre: per column: its mean.
    :param spread: per column: its deviation.
    :param fill: per column: what stands for a missing value, before scaling.
    :param marked: positions of the columns that had missing values in training; each gets a 0/1 column.
    """

    quantiles: np.ndarray | None
    centre: np.ndarray
    spread: np.ndarray
    fill: np.ndarray
    marked: np.ndarray

    @classmethod
    def fit(cls, numbers: np.ndarray, ranks: bool) -> Scaler:
        """Learn the scale of some columns.

        :param numbers: shape (rows, columns), NaN where missing; no column without any value.
        :param ranks: whether to map ranks to a normal distribution; else columns are only centred and divided.
        """
        values = numbers.astype("float64")
        marked = np.flatnonzero(np.isnan(values).any(axis=0))
        fill = np.nanmedian(values, axis=0) if values.shape[1] else np.empty(0)
        filled = np.where(np.isnan(values), fill, values)
        centre = filled.mean(axis=0)
        spread = filled.std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        quantiles = np.nanquantile(values, np.linspace(0, 1, _REFERENCES), axis=0) if ranks else None
        return cls(quantiles, centre, spread, fill, marked)

    @property
    def width(self) -> int:
        """How many columns :meth:`apply` gives."""
        return len(self.centre) + len(self.marked)

    def apply(self, numbers: np.ndarray) -> np.ndarray:
        """Scaled columns, then the marks of missing values.

        :param numbers: shape (rows, columns), NaN where missing.
        :return: 32-bit floats without NaN.
        """
        found = np.empty((len(numbers), self.width), dtype="float32")
        for begin in range(0, len(numbers), _CHUNK):
            found[begin : begin + _CHUNK] = self._apply(numbers[begin : begin + _CHUNK])
        return found

    def _apply(self, numbers: np.ndarray) -> np.ndarray:
        missing = np.isnan(numbers)
        filled = np.where(missing, self.fill, numbers).astype("float64")
        if self.quantiles is None:
            scaled = (filled - self.centre) / self.spread
        else:
            scaled = self._ranked(filled)
        scaled = np.clip(scaled, -_CLIP, _CLIP)
        return np.hstack([scaled, missing[:, self.marked]])

    def _ranked(self, filled: np.ndarray) -> np.ndarray:
        from scipy.special import ndtri

        assert self.quantiles is not None  # noqa: S101
        levels = np.linspace(0, 1, len(self.quantiles))
        scaled = np.empty_like(filled)
        for position in range(filled.shape[1]):
            reference = self.quantiles[:, position]
            # Both directions, so that a value which makes up many ranks lands in their middle.
            upper = np.interp(filled[:, position], reference, levels)
            lower = 1 - np.interp(-filled[:, position], -reference[::-1], levels)
            scaled[:, position] = (upper + lower) / 2
        return np.asarray(ndtri(np.clip(scaled, 1e-3, 1 - 1e-3)))

    def state(self) -> dict[str, np.ndarray]:
        """The arrays that an artefact keeps."""
        found = {"centre": self.centre, "spread": self.spread, "fill": self.fill, "marked": self.marked}
        return found if self.quantiles is None else found | {"quantiles": self.quantiles}

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Scaler:
        """The scaler that :meth:`state` described."""
        return cls(state.get("quantiles"), state["centre"], state["spread"], state["fill"], state["marked"])
