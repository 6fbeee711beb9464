"""What the search may choose: algorithms, their hyperparameters, and where it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.training.engines.tabular.tuning.features import RANKS, STANDARD, TREES

XGBOOST, LINEAR, MLP = "xgboost", "linear-learner", "mlp"

ALGORITHMS = (XGBOOST, LINEAR, MLP)
"""What AWS trains in this mode (R55)."""

_UNBALANCED = frozenset({"Accuracy", "AUC", "Precision"})
"""Objectives that rare classes with a larger say do not help."""


class Trial(Protocol):
    """The part of Optuna's trial that is used."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of some values."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """A whole number."""


@dataclass(frozen=True)
class Choice:
    """What one candidate is made of.

    :param algorithm: ``xgboost``, ``linear-learner`` or ``mlp``.
    :param view: the view of the features that it learns from.
    :param options: its hyperparameters.
    :param logarithmic: regression: learn the logarithm of the target.
    :param balanced: classification: give every class the same say.
    """

    algorithm: str
    view: str
    options: Mapping[str, Any]
    logarithmic: bool = False
    balanced: bool = False


def algorithms_for(named: Sequence[str] | None) -> tuple[str, ...]:
    """The algorithms to search.

    :param named: what the request names; ``None`` or empty for all (R57).
    :raises JobFailure: one is not for this mode.
    """
    wrong = [name for name in named or () if name not in ALGORITHMS]
    if wrong:
        raise JobFailure(
            f"HYPERPARAMETER_TUNING does not train {listing(wrong)}; it trains {listing(ALGORITHMS)}. "
            "Set Mode to ENSEMBLING for the others."
        )
    return tuple(name for name in ALGORITHMS if not named or name in named)


@dataclass(frozen=True)
class SearchSpace:
    """The space of one job.

    :param algorithms: to choose from.
    :param classes: of the target; 0 for regression.
    :param rows: that are trained on.
    :param objective: the metric to optimize.
    :param logarithmic: whether the logarithm of the target is worth trying.
    """

    algorithms: tuple[str, ...]
    classes: int
    rows: int
    objective: str
    logarithmic: bool = False

    def choose(self, trial: Trial) -> Choice:
        """Draw a candidate."""
        algorithm = trial.suggest_categorical("algorithm", self.algorithms)
        view, options = getattr(self, "_" + algorithm.replace("-", "_"))(trial)
        logarithmic = self.logarithmic and trial.suggest_categorical("logarithmic", (False, True))
        balanced = self._may_balance and trial.suggest_categorical("balanced", (False, True))
        return Choice(algorithm, view, options, bool(logarithmic), bool(balanced))

    def starts(self) -> list[dict[str, Any]]:
        """Parameters to try first: of each algorithm what is known to do well on many tables."""
        common: dict[str, Any] = {}
        if self.logarithmic:
            common["logarithmic"] = False
        if self._may_balance:
            common["balanced"] = False
        start: dict[str, dict[str, Any]] = {
            XGBOOST: {
                "xgboost_rounds": 300,
                "xgboost_eta": 0.08,
                "xgboost_max_depth": 6,
                "xgboost_min_child_weight": 1.0,
                "xgboost_subsample": 0.8,
                "xgboost_colsample": 0.8,
                "xgboost_lambda": 1.0,
                "xgboost_alpha": 0.001,
            },
            LINEAR: {"linear_view": STANDARD, "linear_family": self._families[0], "linear_strength": 1e-3},
            MLP: {
                "mlp_view": RANKS,
                "mlp_layers": 2,
                "mlp_width": 64,
                "mlp_activation": "relu",
                "mlp_alpha": 1e-3,
                "mlp_rate": 2e-3,
                "mlp_batch": self._batches[1],
            },
        }
        return [{"algorithm": name, **start[name], **common} for name in self.algorithms]

    @property
    def _may_balance(self) -> bool:
        return self.classes > 0 and self.objective not in _UNBALANCED

    @property
    def _families(self) -> tuple[str, ...]:
        return ("logistic", "sgd") if self.classes else ("ridge", "sgd")

    @property
    def _batches(self) -> tuple[int, ...]:
        """Sizes of the network's batches: small ones learn better, large ones keep long tables affordable."""
        return (32, 64, 128) if self.rows < 5000 else (128, 256, 512) if self.rows < 50_000 else (256, 512, 1024)

    def _xgboost(self, trial: Trial) -> tuple[str, dict[str, Any]]:
        return TREES, {
            "rounds": trial.suggest_int("xgboost_rounds", 60, 600, log=True),
            "eta": trial.suggest_float("xgboost_eta", 0.02, 0.3, log=True),
            "max_depth": trial.suggest_int("xgboost_max_depth", 3, 10),
            "min_child_weight": trial.suggest_float("xgboost_min_child_weight", 0.5, 30.0, log=True),
            "subsample": trial.suggest_float("xgboost_subsample", 0.5, 1.0),
            "colsample_bytree": trial.suggest_float("xgboost_colsample", 0.3, 1.0),
            "lambda": trial.suggest_float("xgboost_lambda", 1e-2, 20.0, log=True),
            "alpha": trial.suggest_float("xgboost_alpha", 1e-4, 5.0, log=True),
        }

    def _linear_learner(self, trial: Trial) -> tuple[str, dict[str, Any]]:
        view = trial.suggest_categorical("linear_view", (STANDARD, RANKS))
        return view, {
            "family": trial.suggest_categorical("linear_family", self._families),
            "strength": trial.suggest_float("linear_strength", 1e-6, 1.0, log=True),
        }

    def _mlp(self, trial: Trial) -> tuple[str, dict[str, Any]]:
        view = trial.suggest_categorical("mlp_view", (STANDARD, RANKS))
        return view, {
            "layers": trial.suggest_int("mlp_layers", 1, 3),
            "width": trial.suggest_int("mlp_width", 16, 192, log=True),
            "activation": trial.suggest_categorical("mlp_activation", ("relu", "tanh")),
            "alpha": trial.suggest_float("mlp_alpha", 1e-6, 1.0, log=True),
            "rate": trial.suggest_float("mlp_rate", 3e-4, 1e-2, log=True),
            "batch": trial.suggest_categorical("mlp_batch", self._batches),
        }
