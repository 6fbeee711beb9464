"""Classification jobs: one candidate for each approach, then the reports on the best one."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
from markupsafe import Markup

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.models import artifacts
from airflow_automl.local.training.data.target import MULTICLASS
from airflow_automl.local.training.engines import comparison, metrics, reports
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.candidates import Candidate, image, step
from airflow_automl.local.training.engines.classification.approach import Approach, Samples, Trained
from airflow_automl.local.training.engines.course import Clock, Course, Files, completion_criteria, median_seconds

log = logging.getLogger(__name__)

OBJECTIVE = "Accuracy"
"""The only one there is (R42)."""

TRAIN_SAMPLE = 500
"""Training samples that the Train metrics are measured on."""

MAX_SECONDS = 15.0
EXPLAINED = 40
"""Validation samples that are explained, time permitting."""

SHOWN = 24
"""Validation samples that the insights show."""

_BATCH = 50
_KEYS = "predicted_label,probability,probabilities,labels"


@dataclass(frozen=True)
class Problem(ABC):
    """A kind of classification.

    :param metadata: what serving needs besides the candidate, such as the features.
    """

    name: ClassVar[str]
    """``TextClassification`` or ``ImageClassification``."""
    engine: ClassVar[str]
    """Key of the serving code in :mod:`airflow_automl.local.models.artifacts`."""
    approaches: ClassVar[Sequence[Approach]]
    """In the order in which they are trained."""
    preferred: ClassVar[str]
    """Name of the approach that is trained if only one candidate is allowed (R49)."""
    method: ClassVar[str]
    """How importance is measured, as the beginning of a sentence."""

    metadata: Mapping[str, Any] = field(default_factory=dict)

    @abstractmethod
    def apart(self, item: Any) -> tuple[Any, Mapping[str, Any]]:
        """Return a sample as it is served, and by the name of each of its parts the sample without that part.

        A sample that can't be divided has no parts.
        """

    @abstractmethod
    def shown(self, item: Any) -> dict[str, str]:
        """Return a sample for a page: ``text``, or ``image`` (a ``data:`` address of a PNG)."""

    def opened(self, item: Any) -> Any:
        """Return a sample as it is served."""
        return item


def train(run: Run, problem: Problem, samples: Samples) -> str:
    """Train the candidates of a job and report on the best one.

    :return: the secondary status that the job ends with.
    :raises JobFailure: no candidate could be trained.
    """
    log.info(
        "%d samples train, %d validate, %d classes", len(samples.train), len(samples.validation), len(samples.labels)
    )
    criteria = completion_criteria(run.spec.criteria)
    run.events.resolved(None, OBJECTIVE, None, criteria)
    course = Course(run, problem.name, OBJECTIVE, criteria)
    run.events.phase("TrainingModels")
    trained: dict[str, Trained] = {}
    approaches = _usable(course, problem)
    for number, approach in enumerate(approaches):
        work = partial(_make, course, problem, samples, approach, len(approaches) - number, trained)
        steps = [step(run.spec, "processing-job", "db-1"), step(run.spec, "training-job", approach.name)]
        course.make(approach.name, steps, work)
    if (secondary := course.without_result()) is not None:
        return secondary
    best = course.best()
    chosen = trained[best.name]
    return course.report(
        best,
        lambda: explain(problem, best.name, chosen, samples, course.for_report(MAX_SECONDS, 0.4)),
        lambda: insights(problem, best, chosen, samples),
        "Completed",
    )


def _usable(course: Course, problem: Problem) -> list[Approach]:
    """Return what is trained: the preferred approach first, and at most MaxCandidates; report what can't be."""
    ranked = sorted(problem.approaches, key=lambda approach: approach.name != problem.preferred)
    most = course.criteria.get("MaxCandidates", len(ranked))
    found: list[Approach] = []
    missing: list[str] = []
    for approach in ranked:
        if len(found) == most:
            break
        reason = approach.missing()
        if reason is None:
            found.append(approach)
        else:
            missing.append(f"There is no candidate with {approach.name}: {reason}")
    if not found:
        raise JobFailure(" ".join(missing))
    for message in missing:
        log.warning(message)
        course.run.events.partial_failure(message, "Candidate")
    return [approach for approach in problem.approaches if approach in found]


def _make(
    course: Course,
    problem: Problem,
    samples: Samples,
    approach: Approach,
    waiting: int,
    trained: dict[str, Trained],
    candidate: Candidate,
) -> dict[str, str]:
    clock, threads = course.for_candidate(waiting), course.run.spec.threads
    made = course.limited(lambda ask: approach.train(samples, clock, threads))
    candidate.parameters = made.settings
    _measure(candidate, problem, samples, made)
    name = candidate.steps[-1]["CandidateStepName"]
    metadata = {
        "engine": problem.engine,
        **problem.metadata,
        "labels": list(samples.labels),
        "approach": approach.name,
        "settings": dict(made.settings),
        # Other versions can open the files, too; these are recorded for comparison.
        "written_with": artifacts.versions(["numpy", "scikit-learn", "onnxruntime", "tokenizers", "pillow"]),
    }
    uri, digest = course.publish(f"training/{name}/output/model.tar.gz", metadata, made.save)
    environment = {"SAGEMAKER_INFERENCE_OUTPUT": "predicted_label", "SAGEMAKER_INFERENCE_SUPPORTED": _KEYS}
    # Both processing units run the same artefact.
    candidate.definitions = {
        unit.upper(): [{"Image": image(problem.engine, unit), "ModelDataUrl": uri, "Environment": environment}]
        for unit in ("cpu", "gpu")
    }
    trained[candidate.name] = made
    return {uri: digest}


def _measure(candidate: Candidate, problem: Problem, samples: Samples, made: Trained) -> None:
    classes = range(len(samples.labels))
    measured = metrics.scores(MULTICLASS, samples.validation_codes, made.probabilities, classes)
    one = [problem.opened(samples.train[0])]
    candidate.validation = {**measured, "InferenceLatency": median_seconds(lambda: made.predict(one))}
    some = metrics.sample(len(samples.train), TRAIN_SAMPLE)
    answers = [
        made.predict([problem.opened(samples.train[position]) for position in batch])
        for batch in np.array_split(some, -(-len(some) // _BATCH))
    ]
    candidate.train = metrics.scores(MULTICLASS, samples.train_codes[some], np.concatenate(answers), classes)


def explain(problem: Problem, name: str, trained: Trained, samples: Samples, seconds: float) -> Files:
    """Explain a candidate: how much the predicted class loses when a part of the sample is removed.

    :param seconds: no further sample is begun after this; one is always explained.
    """
    clock = Clock(seconds)
    losses: dict[str, list[float]] = {}
    count = 0
    for position in reports.spread(len(samples.validation), EXPLAINED):
        if count and clock.passed:
            break
        whole, parts = problem.apart(samples.validation[position])
        if not parts:
            continue
        answers = trained.predict([whole, *parts.values()])
        chosen = int(answers[0].argmax())
        for part, loss in zip(parts, answers[0, chosen] - answers[1:, chosen], strict=True):
            losses.setdefault(part, []).append(float(loss))
        count += 1
    # The sum over the explained samples, so that frequent parts weigh more.
    importance = {part: float(np.sum(np.abs(values))) / max(count, 1) for part, values in losses.items()}
    top = dict(sorted(importance.items(), key=lambda entry: -entry[1])[:200])
    method = f"{problem.method} {count} validation samples."
    explanations = {"occlusion": {"global_importance": top}}
    return reports.explanation(
        name, "Contribution to the predicted class", top, method, samples.notes, explanations=explanations
    )


def insights(problem: Problem, candidate: Candidate, trained: Trained, samples: Samples) -> Files:
    """Make the model insights: ``statistics.json``, ``samples.json`` and a page."""
    truth = np.array(samples.labels, dtype=object)[samples.validation_codes]
    document = reports.statistics(MULTICLASS, truth, trained.probabilities, samples.labels, 0.5, candidate.validation)
    measure = comparison.Measure(MULTICLASS, OBJECTIVE, samples.validation_codes, range(len(samples.labels)))
    constant = comparison.constant(OBJECTIVE, samples.train_codes, len(truth), measure.labels)
    document["comparison"] = comparison.compare(measure, trained.probabilities, 0.5, {comparison.CONSTANT: constant})
    examples, notes = _examples(problem, trained, samples), [*samples.notes, *trained.notes]
    rows = [
        [
            Markup('<img alt="" src="{}">').format(each["image"]) if "image" in each else each["text"],
            *(each[name] for name in ("actual", "predicted")),
            f"{each['probability']:.2f}",
        ]
        for each in examples
    ]
    parts = [
        *reports.notes(notes),
        *comparison.section(document["comparison"]),
        *reports.sections(document),
        ("Samples", reports.table(rows, ["sample", "actual", "predicted", "probability"])),
    ]
    return {
        "statistics.json": json.dumps(document, indent=1),
        "samples.json": json.dumps({"samples": examples, "notes": notes}, ensure_ascii=False),
        "report.html": reports.page(f"Model insights: {candidate.name}", parts),
    }


def _examples(problem: Problem, trained: Trained, samples: Samples) -> list[dict[str, Any]]:
    guess, sure = trained.probabilities.argmax(axis=1), trained.probabilities.max(axis=1)
    wrong = np.flatnonzero(guess != samples.validation_codes)
    right = np.flatnonzero(guess == samples.validation_codes)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")][: SHOWN // 2]
    return [
        {
            **problem.shown(samples.validation[position]),
            "actual": samples.labels[samples.validation_codes[position]],
            "predicted": samples.labels[guess[position]],
            "probability": round(float(sure[position]), 4),
        }
        for position in [*wrong, *right[reports.spread(len(right), SHOWN - len(wrong))]]
    ]
