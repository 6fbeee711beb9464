"""The search: Optuna's TPE proposes candidates, Hyperband gives the hopeless ones up early."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_automl.contract.metrics import direction
from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.engines.tabular.tuning.plan import RESOURCE
from airflow_automl.local.training.engines.tabular.tuning.space import Choice, SearchSpace

_STARTUP = 8
"""Trials before TPE's model is trusted, in each of Hyperband's brackets."""

_UNPRUNED = 2
"""Trials for each algorithm that run to their end whatever they promise: a comparison needs something to compare to."""


@dataclass(frozen=True)
class Proposal:
    """A candidate that the search wants to know about.

    :param number: from 0.
    :param choice: what it is made of.
    :param trial: Optuna's.
    """

    number: int
    choice: Choice
    trial: Any


class Search:
    """Proposes candidates one after the other; the same answers always lead to the same proposals.

    :param space: what may be chosen.
    :param name: of the study.
    """

    def __init__(self, space: SearchSpace, name: str) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._states = optuna.trial.TrialState
        self._space = space
        self._unpruned = _UNPRUNED * len(space.algorithms)
        self._study = optuna.create_study(
            # Hyperband deals out its brackets by this name: a random one would make no two searches alike.
            study_name=name,
            direction="minimize" if direction(space.objective) == "Minimize" else "maximize",
            sampler=optuna.samplers.TPESampler(seed=SEED % 2**31, n_startup_trials=_STARTUP, constant_liar=False),
            pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=RESOURCE, reduction_factor=3),
        )
        for start in space.starts():
            self._study.enqueue_trial(start)

    def propose(self) -> Proposal:
        """The next candidate."""
        trial = self._study.ask()
        return Proposal(trial.number, self._space.choose(trial), trial)

    def hopeless(self, proposal: Proposal, step: int, value: float) -> bool:
        """Whether a candidate should be given up.

        :param proposal: the candidate.
        :param step: how many ninths it was trained for.
        :param value: the objective it has reached.
        """
        proposal.trial.report(value, step)
        # Asked in any case: this is how the pruner learns what to compare the others to.
        pruned = bool(proposal.trial.should_prune())
        return pruned and proposal.number >= self._unpruned

    def completed(self, proposal: Proposal, value: float) -> None:
        """A candidate was trained to its end, and the objective is this."""
        self._study.tell(proposal.trial, value)

    def pruned(self, proposal: Proposal) -> None:
        """A candidate was given up."""
        self._study.tell(proposal.trial, state=self._states.PRUNED)

    def failed(self, proposal: Proposal) -> None:
        """A candidate could not be trained."""
        self._study.tell(proposal.trial, state=self._states.FAIL)
