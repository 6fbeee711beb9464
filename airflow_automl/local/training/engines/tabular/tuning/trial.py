"""Trains and measures one candidate."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from airflow_automl.contract.metrics import direction
from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.data.target import BINARY
from airflow_automl.local.training.engines import metrics
from airflow_automl.local.training.engines.course import Clock, Stopped, TimeIsUp
from airflow_automl.local.training.engines.tabular.tuning.learners import (
    Assignment,
    Estimator,
    Learner,
    TrainedAlgorithm,
    start,
)
from airflow_automl.local.training.engines.tabular.tuning.plan import RESOURCE, Measuring
from airflow_automl.local.training.engines.tabular.tuning.space import Choice
from airflow_automl.local.training.engines.tabular.tuning.table import Part
from airflow_automl.local.training.engines.tabular.tuning.targets import Target

PATIENCE = 3
"""Ninths of the training without any gain after which a candidate is done."""


class Pruned(Stopped):
    """The pruner gave the candidate up.

    :param value: the objective it had reached.
    :param step: after how many ninths.
    """

    def __init__(self, value: float, step: int) -> None:
        # Given as they are, so that it can be pickled.
        super().__init__(value, step)
        self.value = value
        self.step = step

    def __str__(self) -> str:
        return (
            f"Given up after {self.step}/{RESOURCE} of its training at an objective of {self.value:.6g}: other "
            "candidates did better with as much (Hyperband)."
        )


@dataclass(frozen=True)
class Measured:
    """Answers for the validation rows, and what they are worth.

    :param scores: predictions, or probabilities of the classes.
    :param threshold: binary: probability from which a row is positive.
    :param metrics: metric → value.
    :param value: the objective's value.
    """

    scores: np.ndarray
    threshold: float
    metrics: dict[str, float]
    value: float


@dataclass(frozen=True)
class Result:
    """A candidate that was trained to its end.

    :param model: the final model.
    :param measured: on validation rows that the measured models had not seen.
    :param train: metrics on training rows.
    :param cut: whether a time limit ended the training early.
    """

    model: TrainedAlgorithm
    measured: Measured
    train: dict[str, float]
    cut: bool


@dataclass(frozen=True)
class Workbench:
    """What all candidates of a job share.

    :param measuring: the rows.
    :param problem_type: of the job.
    :param objective: the metric to optimize.
    :param classes: of the target; 0 for regression.
    :param threads: that training may use.
    :param sample: training rows on which the Train metrics are measured.
    """

    measuring: Measuring
    problem_type: str
    objective: str
    classes: int
    threads: int
    sample: Part

    def run(self, choice: Choice, clock: Clock, report: Callable[[int, float], bool]) -> Result:
        """Train a candidate and measure it.

        Where the time is over during a sample, what was learned from it is the candidate: it may be the job's only one.

        :param choice: what it is made of.
        :param clock: its time limits.
        :param report: told the objective after so many ninths; answers whether to give up.
        :raises Pruned: it gave up.
        :raises TimeIsUp: there was no time for anything.
        """
        from threadpoolctl import threadpool_limits

        inner = 1 if self.measuring.crossed else self.threads
        with threadpool_limits(limits=inner, user_api="blas"), warnings.catch_warnings():
            # Iterations are counted out on purpose: each solver is stopped before it is content. Set here and not where
            # it is called, because filters belong to the process and not to the threads of the folds.
            warnings.simplefilter("ignore")
            for ninths, sample in self.measuring.samples:
                estimators, measured, _, _ = self._train(choice, [sample], clock, lambda *_: False)
                if clock.passed:
                    return self._result(choice, estimators[0], measured, cut=True)
                if report(ninths, measured.value):
                    raise Pruned(measured.value, ninths)
            silent = bool(self.measuring.samples)
            parts = [fold.train for fold in self.measuring.folds]
            # The final model of a cross-validation is trained once more, on all rows: about a fifth of the work.
            measuring = clock.part(0.75) if self.measuring.crossed else clock
            estimators, measured, share, cut = self._train(
                choice, parts, measuring, (lambda *_: False) if silent else report
            )
            if self.measuring.crossed:
                learner = start(self._assignment(choice, self.measuring.everything, self.threads))
                goal = max(1, round(share * learner.total))
                learner.advance(goal, lambda: clock.passed)
                if not learner.done:
                    raise TimeIsUp
                final, cut = learner.snapshot(), cut or learner.done < goal
            else:
                final = estimators[0]
            return self._result(choice, final, measured, cut)

    def _result(self, choice: Choice, final: Estimator, measured: Measured, cut: bool) -> Result:
        model = TrainedAlgorithm(choice.algorithm, choice.view, self._target(choice), final)
        train = self._metrics(self.sample.values, model.scores(self.sample.matrix(choice.view)), measured.threshold)
        return Result(model, measured, train, cut)

    def prepare(self, choice: Choice) -> None:
        """Bring the rows into the form that a candidate takes, unless one before it had them so.

        :param choice: what the candidate is made of.
        """
        folds = self.measuring.folds
        for part in (*(fold.validation for fold in folds), self.measuring.everything, self.sample):
            part.table.matrix(choice.view)
        if choice.algorithm == "xgboost":
            threads = 1 if self.measuring.crossed else self.threads
            for part in (*(fold.train for fold in folds), *(sample for _, sample in self.measuring.samples)):
                part.binned(threads)
            self.measuring.everything.binned(self.threads)

    def _train(
        self, choice: Choice, parts: list[Part], clock: Clock, report: Callable[[int, float], bool]
    ) -> tuple[list[Estimator], Measured, float, bool]:
        """Train one learner for each fold, all in step, and keep the step at which they were best together.

        :return: what was learned by then, what it is worth, which part of the training that took, and whether a time
            limit ended it.
        """
        threads = 1 if len(parts) > 1 else self.threads
        workers = min(self.threads, len(parts))
        waves = -(-len(parts) // workers)
        best: tuple[list[Estimator], Measured, float, int] | None = None
        cut = False
        with ThreadPoolExecutor(workers, "fold") as pool:
            learners = list(pool.map(lambda part: start(self._assignment(choice, part, threads)), parts))
            for step in range(1, RESOURCE + 1):
                units = [-(-learner.total * step // RESOURCE) for learner in learners]
                # Folds that begin late must not find the time used up by the first ones: nothing would be measured.
                shares = [(number // workers + 1) / waves if best is None else 1.0 for number in range(len(parts))]
                stops = [_stop(clock, share) for share in shares]
                list(pool.map(lambda learner, goal, stop: learner.advance(goal, stop), learners, units, stops))
                cut = any(learner.done < goal for learner, goal in zip(learners, units, strict=True))
                if cut and (best is not None or not all(learner.done for learner in learners)):
                    break
                estimators = list(pool.map(_snapshot, learners))
                measured = self._measure(choice, list(pool.map(self._answer(choice), range(len(parts)), estimators)))
                if best is None or self._better(measured.value, best[1].value):
                    best = (estimators, measured, min(learner.done / learner.total for learner in learners), step)
                done = cut or step == RESOURCE or all(learner.done >= learner.total for learner in learners)
                if report(step, best[1].value) and not done:
                    raise Pruned(best[1].value, step)
                if done or step - best[3] >= PATIENCE:
                    break
        if best is None:
            raise TimeIsUp
        return best[0], best[1], best[2], cut

    def _answer(self, choice: Choice) -> Callable[[int, Estimator], np.ndarray]:
        target = self._target(choice)

        def answer(number: int, estimator: Estimator) -> np.ndarray:
            matrix = self.measuring.folds[number].validation.matrix(choice.view)
            return np.asarray(target.decode(estimator.answer(matrix)), dtype="float64")

        return answer

    def _measure(self, choice: Choice, answers: list[np.ndarray]) -> Measured:
        truth = self.measuring.truth
        scores = np.empty((len(truth), self.classes) if self.classes else len(truth))
        for fold, answer in zip(self.measuring.folds, answers, strict=True):
            scores[fold.positions] = answer
        if not np.isfinite(scores).all():
            raise FloatingPointError("the model's answers are not finite")
        threshold = 0.5
        if self.problem_type == BINARY:
            threshold = metrics.best_threshold(self.objective, truth == 1, scores[:, 1])
        found = self._metrics(truth, scores, threshold)
        if self.objective not in found:
            raise ValueError(f"{self.objective} is undefined on the validation rows: they have one class only")
        return Measured(scores, threshold, found, found[self.objective])

    def _metrics(self, truth: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, float]:
        return metrics.scores(self.problem_type, truth, scores, range(self.classes), None, threshold)

    def _better(self, value: float, than: float) -> bool:
        return value > than if direction(self.objective) == "Maximize" else value < than

    def _target(self, choice: Choice) -> Target:
        return Target.fit(self.measuring.everything.values, self.classes, choice.logarithmic)

    def _assignment(self, choice: Choice, part: Part, threads: int) -> Assignment:
        return Assignment(part, choice, self._target(choice), self.objective, SEED % 2**31, threads)


def _snapshot(learner: Learner) -> Any:
    return learner.snapshot()


def _stop(clock: Clock, share: float) -> Callable[[], bool]:
    """Return what tells when a share of the time that is left is over."""
    mine = clock.part(share)
    return lambda: mine.passed
