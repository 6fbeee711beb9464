"""xgboost: gradient-boosted trees; a unit is a round of boosting, and the model is XGBoost's JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from airflow_automl.local.training.engines.tabular.tuning.features import Matrix
from airflow_automl.local.training.engines.tabular.tuning.learners import Assignment, Learner
from airflow_automl.local.training.engines.tabular.tuning.table import MAX_BIN

MODEL = "booster.json"


@dataclass(frozen=True)
class BoostedTrees:
    """The first rounds of a booster.

    :param booster: XGBoost's.
    :param rounds: number of its rounds that count; 0 for all.
    :param classes: of the target; 0 for regression.
    """

    booster: xgboost.Booster
    rounds: int
    classes: int

    def answer(self, matrix: Matrix) -> np.ndarray:
        """Return probabilities of the classes, or scaled values."""
        found = np.asarray(self.booster.inplace_predict(matrix, iteration_range=(0, self.rounds)), dtype="float64")
        if self.classes == 2:
            return np.column_stack([1 - found, found])
        return found.reshape(-1, self.classes) if self.classes else found

    def save(self, folder: Path) -> None:
        """Write the rounds that count."""
        booster = self.booster[: self.rounds] if self.rounds else self.booster
        booster.save_model(folder / MODEL)

    @classmethod
    def load(cls, folder: Path, classes: int, threads: int) -> BoostedTrees:
        """Read what :meth:`save` wrote."""
        booster = xgboost.Booster(model_file=str(folder / MODEL))
        booster.set_param({"nthread": threads})
        return cls(booster, 0, classes)


class BoostingLearner(Learner):
    """Trains a booster round by round."""

    def __init__(self, assignment: Assignment) -> None:
        super().__init__(assignment)
        self.total = self.options.pop("rounds")
        self._data = assignment.part.binned(assignment.threads)
        # The bins are shared with the trials before; the target's scale and the weights are this one's.
        weights = assignment.weights
        self._data.set_info(
            label=assignment.values, weight=np.ones(len(assignment.part)) if weights is None else weights
        )
        self._booster = xgboost.Booster(
            {
                **self.options,
                **_task(self.classes, assignment.objective),
                "tree_method": "hist",
                "max_bin": MAX_BIN,
                "nthread": assignment.threads,
                "seed": assignment.seed,
                # XGBoost keeps one generator a thread, and folds change threads between their rounds.
                "seed_per_iteration": True,
                "verbosity": 0,
            },
            [self._data],
        )

    def step(self, most: int) -> int:
        """Train one round."""
        self._booster.update(self._data, self.done)
        return 1

    def snapshot(self) -> BoostedTrees:
        """Return the booster up to this round."""
        return BoostedTrees(self._booster, self.done, self.classes)


def _task(classes: int, objective: str) -> dict[str, Any]:
    if classes == 2:
        return {"objective": "binary:logistic"}
    if classes:
        return {"objective": "multi:softprob", "num_class": classes}
    return {"objective": "reg:absoluteerror" if objective == "MAE" else "reg:squarederror"}
