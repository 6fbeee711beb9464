"""The search space, and the search: Optuna's TPE proposes candidates, Hyperband prunes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from airflow_automl.contract.metrics import direction
from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.engines.tabular.tuning.features import RANKS, STANDARD, TREES
from airflow_automl.local.training.engines.tabular.tuning.table import RESOURCE

XGBOOST, LINEAR, MLP = "xgboost", "linear-learner", "mlp"

ALGORITHMS = (XGBOOST, LINEAR, MLP)
"""What AWS trains in this mode (R55)."""

_UNBALANCED = frozenset({"Accuracy", "AUC", "Precision"})
"""Objectives that larger weights for rare classes do not improve."""

_STARTUP = 8
"""Trials before TPE's model is used, in each of Hyperband's brackets."""

_FIRST_SHARE = 1 / 8
"""Of the time that is left, for the first trial of each algorithm but the one that comes last."""

_UNPRUNED = 2
"""Trials for each algorithm that are never pruned: the pruner needs something to compare with."""


@dataclass(frozen=True)
class Choice:
    """Algorithm and hyperparameters of one candidate.

    :param algorithm: ``xgboost``, ``linear-learner`` or ``mlp``.
    :param view: the view of the features that it learns from.
    :param options: its hyperparameters.
    :param logarithmic: regression: learn the logarithm of the target.
    :param balanced: classification: give every class the same weight.
    """

    algorithm: str
    view: str
    options: Mapping[str, Any]
    logarithmic: bool = False
    balanced: bool = False


class _Range(NamedTuple):
    """Numbers to choose from, integers if the bounds are, and where the search starts."""

    low: float
    high: float
    start: float
    log: bool = False


class _Values(NamedTuple):
    """Values to choose from, and where the search starts."""

    values: Sequence[Any]
    start: Any


_VIEWS = (STANDARD, RANKS)


def algorithms_for(named: Sequence[str] | None) -> tuple[str, ...]:
    """Return the algorithms to search.

    :param named: those that the request names; ``None`` or empty for all (R57).
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
    """The search space of one job.

    :param algorithms: to choose from.
    :param classes: of the target; 0 for regression.
    :param rows: number of rows that are trained on.
    :param logarithmic: whether to try the logarithm of the target.
    """

    algorithms: tuple[str, ...]
    classes: int
    rows: int
    objective: str
    logarithmic: bool = False

    def _of(self, algorithm: str) -> dict[str, _Range | _Values]:
        """Return the hyperparameters of an algorithm; they start at what is known to do well on many tables."""
        if algorithm == XGBOOST:
            return {
                "rounds": _Range(60, 600, 300, log=True),
                "eta": _Range(0.02, 0.3, 0.08, log=True),
                "max_depth": _Range(3, 10, 6),
                "min_child_weight": _Range(0.5, 30.0, 1.0, log=True),
                "subsample": _Range(0.5, 1.0, 0.8),
                "colsample": _Range(0.3, 1.0, 0.8),
                "lambda": _Range(1e-2, 20.0, 1.0, log=True),
                "alpha": _Range(1e-4, 5.0, 0.001, log=True),
            }
        if algorithm == LINEAR:
            families = ("logistic", "sgd") if self.classes else ("ridge", "sgd")
            return {
                "view": _Values(_VIEWS, STANDARD),
                "family": _Values(families, families[0]),
                "strength": _Range(1e-6, 1.0, 1e-3, log=True),
            }
        # Small batches learn better, large ones keep long tables affordable.
        small = 32 if self.rows < 5000 else 128 if self.rows < 50_000 else 256
        return {
            "view": _Values(_VIEWS, RANKS),
            "layers": _Range(1, 3, 2),
            "width": _Range(16, 192, 64, log=True),
            "activation": _Values(("relu", "tanh"), "relu"),
            "alpha": _Range(1e-6, 1.0, 1e-3, log=True),
            "rate": _Range(3e-4, 1e-2, 2e-3, log=True),
            "batch": _Values((small, 2 * small, 4 * small), 2 * small),
        }

    @property
    def _switches(self) -> dict[str, bool]:
        balanced = self.classes > 0 and self.objective not in _UNBALANCED
        return {"logarithmic": self.logarithmic, "balanced": balanced}

    def choose(self, trial: Any) -> Choice:
        """Draw a candidate from one of Optuna's trials."""
        algorithm = trial.suggest_categorical("algorithm", self.algorithms)
        options = {}
        for key, space in self._of(algorithm).items():
            name = _name(algorithm, key)
            if isinstance(space, _Values):
                options[key] = trial.suggest_categorical(name, space.values)
            else:
                suggest = trial.suggest_int if isinstance(space.low, int) else trial.suggest_float
                options[key] = suggest(name, space.low, space.high, log=space.log)
        if "colsample" in options:
            options["colsample_bytree"] = options.pop("colsample")
        switches = {
            name: searched and bool(trial.suggest_categorical(name, (False, True)))
            for name, searched in self._switches.items()
        }
        return Choice(algorithm, options.pop("view", TREES), options, **switches)

    def first(self, algorithm: str) -> Choice:
        """Return the candidate that the search of an algorithm starts at."""
        options: dict[str, Any] = {key: space.start for key, space in self._of(algorithm).items()}
        return Choice(algorithm, options.pop("view", TREES), options)

    def starts(self) -> list[dict[str, Any]]:
        """Return the parameters of the first trials, one for each algorithm."""
        common = {name: False for name, searched in self._switches.items() if searched}
        return [
            {"algorithm": algorithm, **{_name(algorithm, key): space.start for key, space in found.items()}, **common}
            for algorithm in self.algorithms
            for found in [self._of(algorithm)]
        ]


def _name(algorithm: str, key: str) -> str:
    return f"{algorithm.partition('-')[0]}_{key}"


@dataclass(frozen=True)
class Proposal:
    """A candidate that the search proposes.

    :param number: from 0.
    :param trial: Optuna's.
    :param share: of the time that is left, which the candidate may take.
    """

    number: int
    choice: Choice
    trial: Any
    share: float = 1.0


class Search:
    """Proposes candidates; equal results in an equal order lead to equal proposals.

    :param space: the search space.
    :param at_once: candidates under way at once; of several, none may be like another.
    :param most: how many candidates are proposed, ``None`` for no limit.
    """

    def __init__(self, space: SearchSpace, name: str, at_once: int = 1, most: int | None = None) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        states = optuna.trial.TrialState
        self._states = {"Completed": states.COMPLETE, "Stopped": states.PRUNED, "Failed": states.FAIL}
        self._space = space
        self._unpruned = _UNPRUNED * len(space.algorithms)
        self._study = optuna.create_study(
            # Hyperband assigns its brackets by this name: with a random one no two searches are equal.
            study_name=name,
            direction="minimize" if direction(space.objective) == "Minimize" else "maximize",
            sampler=optuna.samplers.TPESampler(seed=SEED % 2**31, n_startup_trials=_STARTUP, constant_liar=at_once > 1),
            pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=RESOURCE, reduction_factor=3),
        )
        # The first one comes last, because trees may need all the time that the others leave.
        starts = space.starts()[:most][::-1]
        self._starts, self._at_once = len(starts), at_once
        for start in starts:
            self._study.enqueue_trial(start)

    def propose(self) -> Proposal:
        """Return the next candidate."""
        trial = self._study.ask()
        share = _FIRST_SHARE if trial.number < self._starts - self._at_once else 1.0
        return Proposal(trial.number, self._space.choose(trial), trial, share)

    def hopeless(self, proposal: Proposal, step: int, value: float) -> bool:
        """Return whether to prune a candidate.

        :param step: ninths of its training that are done.
        :param value: the objective it has reached.
        """
        proposal.trial.report(value, step)
        # Asked in any case: this is how the pruner learns what to compare the others to.
        pruned = bool(proposal.trial.should_prune())
        return pruned and proposal.number >= self._unpruned

    def tell(self, proposal: Proposal, status: str, value: float | None = None) -> None:
        """Report how a candidate ended.

        :param status: ``Completed``, ``Stopped`` (too slow counts as bad: it must not be proposed again) or ``Failed``.
        :param value: the objective of a completed one.
        """
        self._study.tell(proposal.trial, value, state=self._states[status])
