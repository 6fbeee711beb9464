"""Text generation jobs: one candidate, a base model fine-tuned on prompts and answers (R115)."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_automl.local.training.data.channels import resolve
from airflow_automl.local.training.data.failures import JobFailure
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.budget import Budget
from airflow_automl.local.training.engines.candidates import Candidate, step
from airflow_automl.local.training.engines.generation import base_models, data, evaluation, export, training
from airflow_automl.local.training.engines.generation.base_models import BaseModel
from airflow_automl.local.training.engines.generation.evaluation import Evaluation, Evaluator
from airflow_automl.local.training.engines.generation.hyperparameters import HyperParameters
from airflow_automl.local.training.engines.generation.language_model import Encoded, LanguageModel

__all__ = ["MAX_RUNTIME", "OBJECTIVE", "engine"]

log = logging.getLogger(__name__)

OBJECTIVE = "ValidationLoss"
"""What is minimized: cross-entropy (R44). It is no objective that a request or a final metric could name."""

MAX_RUNTIME = 259_200
"""MaxRuntimePerTrainingJobInSeconds of text generation when the request sets none: 72 hours (R51)."""

MAX_CUT = 0.6
"""Share of examples that may be too long for the model; with more of them, the job fails as it does on AWS."""

OUT_OF_TIME = "MaxAutoMLJobRuntimeReached"

_TEXT_SHARE = 0.15
"""Share of the time for training that the texts before it may take; those after it take as long."""

_RESERVE = 1.25
"""The evaluation after training is given this many times what the one before it took."""


class TextGenerationEngine:
    """Trains TextGenerationJobConfig jobs."""

    def run(self, run: Run) -> str:
        """See :class:`airflow_automl.local.training.engines.base.Engine`."""
        spec, events = run.spec, run.events
        options = HyperParameters.of(spec.config)
        requested = spec.config.get("BaseModelName")
        base = base_models.find(requested)
        accepted = bool((spec.config.get("ModelAccessConfig") or {}).get("AcceptEula"))
        base_models.require_eula(requested, base, accepted)
        if base.name != requested:
            log.warning("The base model is %s; the request asks for %s", base.name, requested or "the default")
        events.phase("AnalyzingData")
        criteria = {"MaxCandidates": 1, "MaxRuntimePerTrainingJobInSeconds": MAX_RUNTIME, **spec.criteria}
        events.resolved("TextGeneration", OBJECTIVE, None, criteria, base_model=base.name)
        channels = resolve(run.store, spec.request["AutoMLJobInputDataConfig"])
        examples = data.load(run.store, channels, spec.request, run.folder / "download")
        log.info("%d examples train, %d validate", len(examples.train), len(examples.validation))
        events.phase("PreTraining")
        model = LanguageModel.load(base.open(), spec.threads)
        log.info("%s is loaded: %s, %d threads", base.name, model.device, spec.threads)
        train, validation = (_encoded(model, part) for part in (examples.train, examples.validation))
        _require_short(train, validation, model.context)
        job = _Job(run, base, model, options, Evaluator(examples.validation, validation), Budget(spec.deadline))
        return job.train(train, criteria["MaxRuntimePerTrainingJobInSeconds"])


def _encoded(model: LanguageModel, examples: Sequence[data.Example]) -> list[Encoded]:
    return [model.encode(example) for example in examples]


def _require_short(train: Sequence[Encoded], validation: Sequence[Encoded], context: int) -> None:
    both = [*train, *validation]
    cut = sum(example.cut for example in both)
    if cut > MAX_CUT * len(both):
        raise JobFailure(
            f"{cut} of {len(both)} examples are longer than the base model's context (at most {context} tokens, "
            f"prompt and answer together); no more than {MAX_CUT:.0%} may be: shorten them."
        )
    if cut:
        log.warning("%d of %d examples are too long and were cut", cut, len(both))


@dataclass
class _Job:
    """One job under way."""

    run: Run
    base: BaseModel
    model: LanguageModel
    options: HyperParameters
    evaluator: Evaluator
    budget: Budget
    job_ends_first: bool = False

    def train(self, train: Sequence[Encoded], limit: int) -> str:
        """Evaluate, fine-tune, evaluate again, export.

        :param train: the examples.
        :param limit: MaxRuntimePerTrainingJobInSeconds.
        :return: the secondary status that the job ends with.
        """
        spec, events = self.run.spec, self.run.events
        seconds = self.budget.for_training()
        job_ends = math.inf if seconds is None else time.monotonic() + seconds
        before = self.evaluator.evaluate(self.model, min(limit, seconds or limit) * _TEXT_SHARE)
        log.info("Before: %s", _shown(before))
        events.phase("TrainingModels")
        steps = [step(spec, "training-job", f"fine-tune-{self.base.name}")]
        candidate = Candidate(
            name=Candidate.name_for(spec, self.base.name),
            problem_type="TextGeneration",
            objective=OBJECTIVE,
            steps=steps,
        )
        events.candidate(candidate.document())
        # Which of the two limits comes first decides what it means to run into it.
        self.job_ends_first = job_ends < time.monotonic() + limit
        ends = min(job_ends, time.monotonic() + limit)
        afterwards = _RESERVE * (before.loss_seconds + before.text_seconds)
        try:
            training.add_adapter(self.model)
            course = training.fit(
                self.model,
                train,
                self.options,
                lambda: self.evaluator.loss(self.model),
                lambda pace: _left(ends) > pace + afterwards,
            )
        except JobFailure as failure:
            candidate.fail(failure.reason)
            events.candidate(candidate.document())
            raise
        if not course.steps:
            return self._no_time(candidate, limit)
        if course.cut:
            log.warning(
                "The time was over after %d of %d steps; what was learned is kept", course.steps, course.planned
            )
        after = self.evaluator.evaluate(self.model, None, len(before.texts), loss=course.best)
        log.info("After: %s", _shown(after))
        candidate.validation = after.metrics
        candidate.train = {"TrainingLoss": _recent(course.train)}
        document = self._document(before, after, course)
        containers, digests = export.export(self.run, steps[0]["CandidateStepName"], self.base, self.model, document)
        candidate.complete(containers)
        events.candidate(candidate.document(), digests)
        return OUT_OF_TIME if course.cut and self.job_ends_first else "Completed"

    def _no_time(self, candidate: Candidate, limit: int) -> str:
        candidate.stop("The time was over before the first step of training.")
        self.run.events.candidate(candidate.document())
        if self.job_ends_first:
            # The job's own limit came before the first candidate: the job is complete without one (R52).
            return OUT_OF_TIME
        raise JobFailure(
            f"MaxRuntimePerTrainingJobInSeconds ({limit} s) is not enough for one step of training: allow more time, "
            "or use a smaller base model."
        )

    def _document(self, before: Evaluation, after: Evaluation, course: training.Fit) -> dict[str, Any]:
        return {
            "base_model": self.base.name,
            "hyperparameters": self.options.as_json(),
            "before": evaluation.as_json(before),
            "after": evaluation.as_json(after),
            "steps": {"made": course.steps, "planned": course.planned},
            "training_loss": [[at, round(loss, 6)] for at, loss in _thinned(course.train)],
            "validation_loss": [[0, round(before.loss, 6)], *([at, round(loss, 6)] for at, loss in course.validation)],
            "steps_per_epoch": course.planned // self.options.epochs,
            "samples": self.evaluator.samples(before, after),
        }


def _left(ends: float) -> float:
    """Seconds until training and the evaluation after it must be done."""
    return ends - time.monotonic()


def _shown(measured: Evaluation) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in measured.metrics.items())


def _recent(losses: Sequence[float]) -> float:
    """The mean over the last tenth of the steps: one step says little."""
    last = losses[-max(len(losses) // 10, 1) :]
    return sum(last) / len(last)


def _thinned(losses: Sequence[float], limit: int = 200) -> list[tuple[int, float]]:
    """Means over stretches of steps, so that the course of a long training fits into a plot."""
    width = -(-len(losses) // limit)
    parts = [(start, losses[start : start + width]) for start in range(0, len(losses), width)]
    return [(start + len(part), sum(part) / len(part)) for start, part in parts]


engine = TextGenerationEngine()
