"""Trains and measures one candidate."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from airflow_automl.contract.metrics import direction
from airflow_automl.local.errors import JobFailure
from airflow_automl.local.models.artifacts import Threshold
from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.engines import metrics
from airflow_automl.local.training.engines.course import Clock, Stopped, TimeIsUp
from airflow_automl.local.training.engines.tabular.tuning.learners import (
    Assignment,
    Blend,
    Learner,
    Model,
    Target,
    TrainedAlgorithm,
    start,
)
from airflow_automl.local.training.engines.tabular.tuning.search import Choice
from airflow_automl.local.training.engines.tabular.tuning.table import RESOURCE, Measuring, Part

NO_GAIN = 3
"""Ninths of the training without any gain after which the training of a candidate ends."""


class Pruned(Stopped):
    """The candidate was pruned.

    :param value: the objective it had reached.
    :param step: after how many ninths.
    """

    def __init__(self, value: float, step: int) -> None:
        super().__init__(value, step)
        self.value, self.step = value, step

    def __str__(self) -> str:
        return (
            f"Stopped early after {self.step}/{RESOURCE} of its training at an objective of {self.value:.6g}: other "
            "candidates did better with as much (Hyperband)."
        )


@dataclass(frozen=True)
class Measured:
    """Answers for the validation rows, and what they are worth.

    :param scores: predictions, or probabilities of the classes.
    :param threshold: how a row's class is chosen.
    :param metrics: metric → value.
    :param value: the objective's value.
    """

    scores: np.ndarray
    threshold: Threshold
    metrics: dict[str, float]
    value: float


@dataclass(frozen=True)
class Result:
    """A candidate that was trained to its end.

    :param model: the final model.
    :param first: the model of the first fold, which has not seen that fold's validation rows.
    :param measured: on validation rows that the measured models had not seen.
    :param train: metrics on training rows.
    :param cut: whether a time limit ended the training early.
    """

    model: Model
    first: Model
    measured: Measured
    train: dict[str, float]
    cut: bool


_BRIEF = 0.5
"""Seconds of a measurement that may still be made when the time is over."""


@dataclass(frozen=True)
class Workbench:
    """What all candidates of a job share.

    :param measuring: the rows.
    :param problem_type: of the job.
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

        If the time limit is reached during a sample, the model of the sample is the candidate: it may be the only one.

        :param report: gets the number of ninths that are done and the objective; returns whether to prune.
        :raises Pruned: ``report`` returned true.
        :raises TimeIsUp: the time limit was reached before there was anything to measure.
        """
        from threadpoolctl import threadpool_limits

        inner = 1 if self.measuring.crossed else self.threads
        with threadpool_limits(limits=inner, user_api="blas"), warnings.catch_warnings():
            # Each solver is stopped before it converges, on purpose. Set here and not where it is called, because
            # filters belong to the process and not to the threads of the folds.
            warnings.simplefilter("ignore")
            for ninths, sample in self.measuring.samples:
                models, measured, _, _ = self._train(choice, [sample], clock, lambda *_: False)
                if clock.passed:
                    return self._result(models[0], models[0], measured, cut=True)
                if report(ninths, measured.value):
                    raise Pruned(measured.value, ninths)
            silent = bool(self.measuring.samples)
            parts = [fold.train for fold in self.measuring.folds]
            # The final model of a cross-validation is trained again, on all rows: about a fifth of the work.
            measuring = clock.part(0.75) if self.measuring.crossed else clock
            models, measured, share, cut = self._train(
                choice, parts, measuring, (lambda *_: False) if silent else report
            )
            first = models[0]
            if self.measuring.crossed:
                learner = start(self._assignment(choice, self.measuring.everything, self.threads))
                goal = max(1, round(share * learner.total))
                learner.advance(goal, lambda: clock.passed)
                if not learner.done:
                    raise TimeIsUp
                models, cut = [self._model(choice, learner)], cut or learner.done < goal
            return self._result(models[0], first, measured, cut)

    def blend(self, results: Sequence[Result]) -> Result | None:
        """Return the mean of what some candidates answer, the best one first; ``None`` if that one alone is better."""
        measured = self._measured(np.mean([each.measured.scores for each in results], axis=0))
        if not self._better(measured.value, results[0].measured.value):
            return None
        models, firsts = ([getattr(each, name) for each in results] for name in ("model", "first"))
        answers = [model.scores(self.sample.matrix(model.view)) for model in models]
        train = self._metrics(self.sample.values, np.mean(answers, axis=0), measured.threshold)
        return Result(Blend(tuple(models)), Blend(tuple(firsts)), measured, train, cut=False)

    def _result(self, model: TrainedAlgorithm, first: TrainedAlgorithm, measured: Measured, cut: bool) -> Result:
        train = self._metrics(self.sample.values, model.scores(self.sample.matrix(model.view)), measured.threshold)
        return Result(model, first, measured, train, cut)

    def _model(self, choice: Choice, learner: Learner) -> TrainedAlgorithm:
        return TrainedAlgorithm(choice.algorithm, choice.view, self._target(choice), learner.snapshot())

    def prepare(self, choice: Choice) -> None:
        """Compute the form of the rows that a candidate takes, and import what it needs, unless an earlier one did."""
        folds = self.measuring.folds
        for part in (*(fold.validation for fold in folds), self.measuring.everything, self.sample):
            part.table.matrix(choice.view)
        if choice.algorithm == "xgboost":
            threads = 1 if self.measuring.crossed else self.threads
            for part in (*(fold.train for fold in folds), *(sample for _, sample in self.measuring.samples)):
                part.binned(threads)
        start(self._assignment(choice, self.measuring.everything, self.threads))

    def _train(
        self, choice: Choice, parts: list[Part], clock: Clock, report: Callable[[int, float], bool]
    ) -> tuple[list[TrainedAlgorithm], Measured, float, bool]:
        """Train one learner for each fold, all in step, and keep the step at which they were best together.

        :return: the models of that step, their metrics, the share of the training that was done by then, and whether a
            time limit ended the training.
        """
        threads = 1 if len(parts) > 1 else self.threads
        workers = min(self.threads, len(parts))
        waves = -(-len(parts) // workers)
        best: tuple[list[TrainedAlgorithm], Measured, float, int] | None = None
        cut, took = False, 0.0
        with ThreadPoolExecutor(workers, "fold") as pool:
            learners = list(pool.map(lambda part: start(self._assignment(choice, part, threads)), parts))
            for step in range(1, RESOURCE + 1):
                units = [-(-learner.total * step // RESOURCE) for learner in learners]
                # Folds that begin late must not find the time used up by the first ones: nothing would be measured.
                shares = [(number // workers + 1) / waves if best is None else 1.0 for number in range(len(parts))]
                clocks = [clock.part(share) for share in shares]
                before = [learner.done for learner in learners]
                jobs = zip(learners, units, clocks, strict=True)
                list(pool.map(lambda job: job[0].advance(job[1], lambda: job[2].passed), jobs))
                cut = any(learner.done < goal for learner, goal in zip(learners, units, strict=True))
                again = [learner.done for learner in learners] != before and took < _BRIEF
                if cut and not (all(learner.done for learner in learners) and (best is None or again)):
                    break
                began = time.monotonic()
                models = list(pool.map(lambda learner: self._model(choice, learner), learners))
                validation = [fold.validation for fold in self.measuring.folds]
                answers = pool.map(lambda model, rows: model.scores(rows.matrix(choice.view)), models, validation)
                measured = self._measure(list(answers))
                took = time.monotonic() - began
                if best is None or self._better(measured.value, best[1].value):
                    share = float(np.mean([learner.done / learner.total for learner in learners]))
                    best = (models, measured, share, step)
                done = cut or step == RESOURCE or all(learner.done >= learner.total for learner in learners)
                if report(step, best[1].value) and not done:
                    raise Pruned(best[1].value, step)
                if done or step - best[3] >= NO_GAIN:
                    break
        if best is None:
            raise TimeIsUp
        return best[0], best[1], best[2], cut

    def _measure(self, answers: list[np.ndarray]) -> Measured:
        truth = self.measuring.truth
        scores = np.empty((len(truth), self.classes) if self.classes else len(truth))
        for fold, answer in zip(self.measuring.folds, answers, strict=True):
            scores[fold.positions] = answer
        return self._measured(scores)

    def _measured(self, scores: np.ndarray) -> Measured:
        truth = self.measuring.truth
        if not np.isfinite(scores).all():
            raise JobFailure("the model's answers are not finite")
        threshold = metrics.decide(self.objective, truth, scores) if self.classes else 0.5
        found = self._metrics(truth, scores, threshold)
        if self.objective not in found:
            raise JobFailure(f"{self.objective} of the model's answers is not finite")
        return Measured(scores, threshold, found, found[self.objective])

    def _metrics(self, truth: np.ndarray, scores: np.ndarray, threshold: Threshold) -> dict[str, float]:
        return metrics.scores(self.problem_type, truth, scores, range(self.classes), None, threshold)

    def _better(self, value: float, than: float) -> bool:
        return value > than if direction(self.objective) == "Maximize" else value < than

    def _target(self, choice: Choice) -> Target:
        return Target.fit(self.measuring.everything.values, self.classes, choice.logarithmic)

    def _assignment(self, choice: Choice, part: Part, threads: int) -> Assignment:
        return Assignment(part, choice, self._target(choice), self.objective, SEED % 2**31, threads)
