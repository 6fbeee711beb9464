"""Text generation jobs: one candidate, a base model fine-tuned on prompts and answers (R115)."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.models import artifacts
from airflow_automl.local.training.data.channels import resolve
from airflow_automl.local.training.engines import isolation, reports
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.candidates import Candidate, image, step
from airflow_automl.local.training.engines.course import OUT_OF_TIME, PER_CANDIDATE, Clock, Course, Stopped, TimeIsUp
from airflow_automl.local.training.engines.generation import base_models, data, evaluation, training
from airflow_automl.local.training.engines.generation.base_models import BaseModel
from airflow_automl.local.training.engines.generation.evaluation import Evaluation, Evaluator
from airflow_automl.local.training.engines.generation.language_model import Encoded, LanguageModel
from airflow_automl.local.training.engines.generation.serving import MAX_INPUT, MAX_TOTAL
from airflow_automl.local.training.engines.generation.training import HyperParameters

log = logging.getLogger(__name__)

EVALUATION = "evaluation.json"
"""Beside ``model.tar.gz``: the measurements before and after, the course of the losses, sample generations."""

_TOTAL_TOKENS = 2048


@dataclass(frozen=True)
class Adapter:
    """A trained adapter.

    :param folder: its files.
    :param total_tokens: of prompt and answer together, at most.
    :param evaluation: the document to put beside the artefact.
    :param metrics: measured after the training.
    :param training_loss: of the last steps.
    :param cut: whether the time was over before the last step.
    """

    folder: Path
    total_tokens: int
    evaluation: Mapping[str, Any]
    metrics: dict[str, float]
    training_loss: float
    cut: bool


def save(model: LanguageModel, base: BaseModel, folder: Path) -> int:
    """Write an adapter as data.

    :return: tokens of prompt and answer together, at most.
    """
    for config in model.network.peft_config.values():
        # This becomes part of the artefact: the model's name, not a path of this machine.
        config.base_model_name_or_path = base.name
    model.network.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    return min(model.positions, _TOTAL_TOKENS)


def publish(
    course: Course, candidate: Candidate, base: BaseModel, adapter: Adapter
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Put a trained adapter into S3.

    :return: InferenceContainers, and the SHA-256 of the artefact by its address.
    """
    total = adapter.total_tokens
    metadata = {
        "engine": "generation",
        "base_model": {"name": base.name, "digest": base.digest},
        "hyperparameters": adapter.evaluation["hyperparameters"],
        "max_total_tokens": total,
        # Other versions can open the files, too; these are recorded for comparison.
        "written_with": artifacts.versions(["torch", "transformers", "peft", "tokenizers"]),
    }
    folder = f"fine-tuning/{candidate.steps[0]['CandidateStepName']}/output"
    uri, digest = course.publish(
        f"{folder}/model.tar.gz", metadata, lambda to: shutil.copytree(adapter.folder, to, dirs_exist_ok=True)
    )
    course.write(folder, {EVALUATION: reports.encode(adapter.evaluation)})
    environment = {
        MAX_INPUT: str(total - 1),
        MAX_TOTAL: str(total),
        "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "application/json",
    }
    return [{"Image": image("text-generation"), "ModelDataUrl": uri, "Environment": environment}], {uri: digest}


OBJECTIVE = "ValidationLoss"
"""What is minimized: cross-entropy (R44). A request or a final metric can't name it as objective."""

MAX_RUNTIME = 259_200
"""MaxRuntimePerTrainingJobInSeconds of text generation when the request sets none: 72 hours (R51)."""

MAX_CUT = 0.6
"""Share of examples that may be too long for the model; with more of them, the job fails as it does on AWS."""

_TEXT_SHARE = 0.15
"""Share of the time for training that the texts before it may take; those after it take as long."""

_RESERVE = 1.25
"""The evaluation after training is given this many times what the one before it took."""


def train(run: Run) -> str:
    """Train TextGenerationJobConfig jobs; see :data:`airflow_automl.local.training.engines.base.Engine`."""
    spec, events = run.spec, run.events
    options = HyperParameters.of(spec.config)
    requested = spec.config.get("BaseModelName")
    base = base_models.find(requested)
    accepted = bool((spec.config.get("ModelAccessConfig") or {}).get("AcceptEula"))
    base_models.require_eula(requested, base, accepted)
    if base.name != requested:
        log.warning("The base model is %s; the request asks for %s", base.name, requested or "the default")
    events.phase("AnalyzingData")
    criteria = {"MaxCandidates": 1, PER_CANDIDATE: MAX_RUNTIME, **spec.criteria}
    events.resolved("TextGeneration", OBJECTIVE, None, criteria, base_model=base.name)
    channels = resolve(run.store, spec.request["AutoMLJobInputDataConfig"])
    examples = data.load(run.store, channels, spec.request, run.folder / "download")
    log.info("%d examples train, %d validate", len(examples.train), len(examples.validation))
    events.phase("PreTraining")
    course = Course(run, "TextGeneration", OBJECTIVE, criteria)
    return _FineTuning(course, base, options, examples).run()


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
class _FineTuning:
    course: Course
    base: BaseModel
    options: HyperParameters
    examples: data.Examples
    candidate: Candidate | None = None

    def run(self) -> str:
        course = self.course
        clock, cut = course.for_candidate(), False
        try:
            made = course.limited(lambda ask: self._train(ask, clock), lambda question: bool(self._begin()))
            candidate = self._begin()
            candidate.validation, candidate.train, cut = made.metrics, {"TrainingLoss": made.training_loss}, made.cut
            candidate.containers, digests = publish(course, candidate, self.base, made)
        except Stopped as stopped:
            course.end(self._begin(), stopped)
        except Exception as error:
            if self.candidate is None:
                raise
            course.end(self.candidate, error)
        else:
            course.end(candidate, digests)
        if (secondary := course.without_result()) is not None:
            return secondary
        return OUT_OF_TIME if cut and not course.own_limit_first else "Completed"

    def _begin(self) -> Candidate:
        if self.candidate is None:
            spec = self.course.run.spec
            self.course.run.events.phase("TrainingModels")
            steps = [step(spec, "training-job", f"fine-tune-{self.base.name}")]
            self.candidate = self.course.begin(self.base.name, steps)
            self.candidate.parameters = self.options.as_json()
        return self.candidate

    def _train(self, ask: isolation.Ask, clock: Clock) -> Adapter:
        """Do all that needs the model.

        :param ask: tells the process that waits that the data is good and training begins.
        :param clock: when to be done.
        """
        spec = self.course.run.spec
        model = LanguageModel.load(self.base.open(), spec.threads)
        log.info("%s is loaded: %s, %d threads", self.base.name, model.device, spec.threads)
        parts = self.examples.train, self.examples.validation
        train, validation = ([model.encode(example) for example in part] for part in parts)
        _require_short(train, validation, model.context)
        evaluator = Evaluator(self.examples.validation, validation)
        before = evaluator.evaluate(model, None if clock.left is None else clock.left * _TEXT_SHARE)
        log.info("Before: %s", _shown(before))
        ask("begin")
        afterwards = _RESERVE * (before.loss_seconds + before.text_seconds)
        training.add_adapter(model)
        fit = training.fit(
            model,
            train,
            self.options,
            lambda: evaluator.loss(model),
            lambda pace: _left(clock) > pace + afterwards,
        )
        if not fit.steps:
            raise TimeIsUp("The time limit was reached before the first step of training.")
        if fit.cut:
            log.warning(
                "The time limit was reached after %d of %d steps; the best adapter so far is used",
                fit.steps,
                fit.planned,
            )
        after = evaluator.evaluate(model, None, len(before.texts), loss=fit.best)
        log.info("After: %s", _shown(after))
        folder = self.course.run.folder / "adapter"
        total = save(model, self.base, folder)
        document = self._document(evaluator, before, after, fit)
        recent = fmean(fit.train[-max(len(fit.train) // 10, 1) :])
        return Adapter(folder, total, document, after.metrics, recent, fit.cut)

    def _document(
        self, evaluator: Evaluator, before: Evaluation, after: Evaluation, fit: training.Fit
    ) -> dict[str, Any]:
        return {
            "base_model": self.base.name,
            "hyperparameters": self.options.as_json(),
            "before": evaluation.as_json(before),
            "after": evaluation.as_json(after),
            "steps": {"made": fit.steps, "planned": fit.planned},
            "training_loss": [[at, round(loss, 6)] for at, loss in _thinned(fit.train)],
            "validation_loss": [[0, round(before.loss, 6)], *([at, round(loss, 6)] for at, loss in fit.validation)],
            "steps_per_epoch": fit.planned // self.options.epochs,
            "samples": evaluator.samples(before, after),
        }


def _left(clock: Clock) -> float:
    return math.inf if clock.left is None else clock.left


def _shown(measured: Evaluation) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in measured.metrics.items())


def _thinned(losses: Sequence[float], limit: int = 200) -> list[tuple[int, float]]:
    """Means over stretches of steps, so that the course of a long training fits into a plot."""
    width = -(-len(losses) // limit)
    parts = [(start, losses[start : start + width]) for start in range(0, len(losses), width)]
    return [(start + len(part), sum(part) / len(part)) for start, part in parts]
