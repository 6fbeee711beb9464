"""Numbers as people read them: scores with a unit, and with the same precision if they stand beside one another."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from airflow_automl.contract import metrics


def number(value: Any) -> str:
    """Return a number with four significant digits, in full if it is large."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return str(value)
    if value and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.3e}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


class Scores:
    """One metric, all of whose values have as many decimals as the largest of them needs for four digits.

    :param name: the metric's name; what SageMaker measures in seconds is shown in ms.
    :param values: the values that are shown beside one another; ``None`` for those that are not known.
    """

    def __init__(self, name: str, values: Iterable[float | None] = ()) -> None:
        self.name = name
        self.label, self.factor = (f"{name} (ms)", 1000.0) if name == "InferenceLatency" else (name, 1.0)
        self.lower = metrics.direction(name) == "Minimize"
        largest = max((abs(value * self.factor) for value in values if value is not None), default=0.0)
        self._fixed = not largest or 1e-4 <= largest < 1e7
        self._decimals = min(6, max(0, 3 - math.floor(math.log10(largest)))) if largest and self._fixed else 2

    def text(self, value: float | None) -> str:
        """Return a value with the decimals of all, in the unit of :attr:`label`."""
        if value is None or not self._fixed:
            return number(value)
        return f"{value * self.factor:,.{self._decimals}f}"

    def exact(self, value: float | None) -> str:
        """Return a value with up to six significant digits, in the unit of :attr:`label`, as decisions need it."""
        return number(None) if value is None else f"{value * self.factor:.6g}"


def score(value: float | None, metric: str | None) -> str:
    return Scores(metric or "", [value]).text(value)
