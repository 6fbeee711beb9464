"""How much better a candidate is than the simplest models, with intervals from resampled validation rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from airflow_automl.contract.metrics import direction
from airflow_automl.local.models.artifacts import Threshold
from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.engines import metrics, reports

log = logging.getLogger(__name__)

ROWS = 5000
"""Validation rows that models are compared on, at most."""

RESAMPLES = 200
_QUANTILES = (0.025, 0.975)

CONSTANT, LINEAR = "a constant answer", "a linear model"


@dataclass(frozen=True)
class Measure:
    """The objective of a job on some rows, and on resamples of them.

    :param truth: the target's values.
    :param labels: the classes; empty for regression.
    :param weights: sample weights, or ``None``.
    """

    problem_type: str
    objective: str
    truth: np.ndarray
    labels: Sequence[float | str]
    weights: np.ndarray | None = None

    def values(self, answers: np.ndarray, threshold: Threshold, every: slice = slice(None)) -> np.ndarray:
        """Return the objective on all rows, then on each resample; higher is better, so losses are negative.

        :param answers: predictions, or probabilities in the order of the labels.
        :param every: the resamples to measure on.
        """
        rows = len(self.truth)
        own = np.ones(rows) if self.weights is None else self.weights
        counts = np.random.default_rng(SEED).multinomial(rows, np.full(rows, 1 / rows), RESAMPLES)[every]
        sign = 1 if direction(self.objective) == "Maximize" else -1
        found = (
            metrics.scores(self.problem_type, self.truth, answers, self.labels, own * count, threshold)
            for count in [np.ones(rows), *counts]
        )
        # A resample that lacks a class may leave the metric undefined.
        return np.array([sign * each.get(self.objective, np.nan) for each in found])


def interval(differences: np.ndarray) -> list[float]:
    """Return the bounds that 95 % of the resamples lie within."""
    return [float(bound) for bound in np.nanquantile(differences, _QUANTILES)]


def constant(
    objective: str, learned: np.ndarray, rows: int, labels: Sequence[float | str], weights: np.ndarray | None = None
) -> np.ndarray:
    """Return the answers of the model that has seen no feature: the classes' shares, or the mean (MAE: the median).

    :param learned: the target's values in the training data.
    :param rows: number of answers.
    :param weights: sample weights of the training data, or ``None``.
    """
    if labels:
        shares = np.array([np.average(learned == label, weights=weights) for label in labels])
        return np.tile(shares, (rows, 1))
    if objective != "MAE":
        return np.full(rows, np.average(learned, weights=weights), dtype="float64")
    order = np.argsort(learned)
    below = np.cumsum(np.ones(len(learned)) if weights is None else weights[order])
    return np.full(rows, learned[order][np.searchsorted(below, below[-1] / 2)], dtype="float64")


def compare(
    measure: Measure, answers: np.ndarray, threshold: Threshold, others: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Compare the best candidate with other models, and log what came out.

    :param answers: the candidate's, for the rows of the measure.
    :param threshold: how the candidate chooses a class; for the others it is tuned on these rows too.
    :param others: name of a model → its answers.
    :return: for ``statistics.json``; :func:`section` shows it.
    """
    some, weights = metrics.draw(measure.truth, ROWS, measure.weights, bool(measure.labels))
    measure = Measure(measure.problem_type, measure.objective, measure.truth[some], measure.labels, weights)
    mine = measure.values(answers[some], threshold)
    sign = 1 if direction(measure.objective) == "Maximize" else -1
    position = {label: code for code, label in enumerate(measure.labels)}
    found: dict[str, Any] = {}
    for name, scores in others.items():
        cut: Threshold = 0.5
        if position:
            actual = np.array([position[label] for label in measure.truth.tolist()])
            cut = metrics.decide(measure.objective, actual, scores[some], weights)
        theirs = measure.values(scores[some], cut)
        gain = mine - theirs
        if not np.isfinite(gain[0]):
            continue
        low, high = interval(gain)
        verdict = "Better than" if low > 0 else "Not clearly better than" if gain[0] > 0 else "Not better than"
        sentence = (
            f"{verdict} {name}: {measure.objective} {sign * mine[0]:.4g} against {sign * theirs[0]:.4g}, a gain of "
            f"{gain[0]:.4g} (95 % interval {low:.4g} to {high:.4g}; below 0 is worse)."
        )
        log.log(logging.INFO if low > 0 else logging.WARNING, "The best candidate: %s", sentence)
        value, difference = float(sign * theirs[0]), float(gain[0])
        found[name] = {"value": value, "better_by": difference, "interval": [low, high], "verdict": sentence}
    return {"metric": measure.objective, "value": float(sign * mine[0]), "rows": len(some), "baselines": found}


def section(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the part of the page that shows a comparison; none if there was nothing to compare with."""
    if not document["baselines"]:
        return []
    header = f"on {document['rows']} validation rows, with which the best candidate was chosen, too"
    verdicts = [[each["verdict"]] for each in document["baselines"].values()]
    return [("Compared with simple models", reports.table(verdicts, [header]))]
