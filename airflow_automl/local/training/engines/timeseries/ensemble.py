"""Weights for a mean of several forecasts, quantile by quantile, chosen on backtests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from airflow_automl.local.training.engines.timeseries.metrics import Window, measure

ROUNDS = 20
SMALLEST = 0.03
"""Serving an algorithm with less weight costs more than it gives."""

Array = np.ndarray


def blend(forecasts: Mapping[str, Array], weights: Mapping[str, float]) -> Array:
    """The weighted mean of forecasts.

    :param forecasts: algorithm → forecast.
    :param weights: algorithm → weight; they sum to 1.
    """
    parts = [weight * forecasts[name] for name, weight in weights.items()]
    return np.sum(parts, axis=0)  # type: ignore[no-any-return]


def weigh(
    windows: Sequence[Window], forecasts: Mapping[str, Sequence[Array]], objective: str, quantiles: Sequence[int]
) -> dict[str, float]:
    """Weigh algorithms by how good they were.

    Half of the weight goes to the combination that minimizes the metric on these windows; it is the best one, and fits
    them too closely. The other half goes to all algorithms by the inverse square of their own metric, which errs less.

    :param windows: what happened.
    :param forecasts: algorithm → its forecast of each window.
    :param objective: the metric.
    :param quantiles: in percent.
    :return: algorithm → weight; they sum to 1, and weights too small to matter are left out.
    """
    losses = {name: _loss(windows, found, objective, quantiles) for name, found in forecasts.items()}
    inverse = {name: (loss + 1e-9) ** -2 for name, loss in losses.items()}
    combined = _combination(windows, forecasts, objective, quantiles)
    whole = sum(inverse.values())
    weights = {name: 0.5 * combined.get(name, 0.0) + 0.5 * inverse[name] / whole for name in forecasts}
    kept = {name: weight for name, weight in weights.items() if weight >= SMALLEST}
    whole = sum(kept.values())
    return {name: weight / whole for name, weight in kept.items()}


def _combination(
    windows: Sequence[Window], forecasts: Mapping[str, Sequence[Array]], objective: str, quantiles: Sequence[int]
) -> dict[str, float]:
    """Add one algorithm at a time, also the same one again, always the one that then makes the metric smallest."""
    counts = dict.fromkeys(forecasts, 0)
    total = [np.zeros_like(window) for window in next(iter(forecasts.values()))]
    best, best_counts = np.inf, dict(counts)
    for size in range(1, ROUNDS + 1):
        losses = {
            name: _loss(windows, [(a + b) / size for a, b in zip(total, found, strict=True)], objective, quantiles)
            for name, found in forecasts.items()
        }
        chosen = min(losses, key=lambda name: losses[name])
        counts[chosen] += 1
        total = [whole + part for whole, part in zip(total, forecasts[chosen], strict=True)]
        if losses[chosen] < best - 1e-12:
            best, best_counts = losses[chosen], dict(counts)
    size = sum(best_counts.values())
    return {name: count / size for name, count in best_counts.items() if count}


def judge(
    windows: Sequence[Window], forecasts: Mapping[str, Sequence[Array]], objective: str, quantiles: Sequence[int]
) -> list[Array]:
    """Forecasts of the ensemble for each window, with weights from the other windows alone.

    So the ensemble is measured on what its weights have not seen. With one window there is no other: then all
    algorithms count the same.

    :return: a forecast for each window.
    """
    found = []
    for place in range(len(windows)):
        others = [index for index in range(len(windows)) if index != place]
        if others:
            weights = weigh(
                [windows[index] for index in others],
                {name: [parts[index] for index in others] for name, parts in forecasts.items()},
                objective,
                quantiles,
            )
        else:
            weights = {name: 1 / len(forecasts) for name in forecasts}
        found.append(blend({name: parts[place] for name, parts in forecasts.items()}, weights))
    return found


def _loss(windows: Sequence[Window], forecasts: Sequence[Array], objective: str, quantiles: Sequence[int]) -> float:
    losses = [measure(w, f, quantiles).get(objective, np.inf) for w, f in zip(windows, forecasts, strict=True)]
    return float(np.mean(losses))
