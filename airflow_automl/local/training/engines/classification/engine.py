"""Classification jobs: one candidate for each approach, then the reports on the best one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.models import artifacts
from airflow_automl.local.training.data.target import MULTICLASS
from airflow_automl.local.training.engines import metrics
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.candidates import Candidate, image, step
from airflow_automl.local.training.engines.classification import reports
from airflow_automl.local.training.engines.classification.approach import Approach, Trained
from airflow_automl.local.training.engines.classification.reports import Presenter
from airflow_automl.local.training.engines.classification.samples import Samples
from airflow_automl.local.training.engines.course import Course, completion_criteria, median_seconds

log = logging.getLogger(__name__)

OBJECTIVE = "Accuracy"
"""The only one there is (R42)."""

TRAIN_SAMPLE = 500
"""Training samples that the Train metrics are measured on."""

_BATCH = 50
_KEYS = "predicted_label,probability,probabilities,labels"


@dataclass(frozen=True)
class Problem:
    """A kind of classification.

    :param name: ``TextClassification`` or ``ImageClassification``.
    :param engine: key of what serves it, in :mod:`airflow_automl.local.models.artifacts`.
    :param metadata: what serving needs to know beyond the candidate, such as the features.
    :param approaches: in the order in which they are trained.
    :param preferred: name of the approach that is trained if only one candidate is allowed (R49).
    :param presenter: explains predictions and shows samples.
    """

    name: str
    engine: str
    metadata: Mapping[str, Any]
    approaches: Sequence[Approach]
    preferred: str
    presenter: Presenter


def train(run: Run, problem: Problem, samples: Samples) -> str:
    """Train the candidates of a job and report on the best one.

    :param run: the job.
    :param problem: its kind.
    :param samples: what to train on.
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
    chosen, presenter = trained[best.name], problem.presenter
    return course.report(
        best,
        lambda: reports.explain(presenter, best.name, chosen, samples, course.for_report(reports.MAX_SECONDS, 0.4)),
        lambda: reports.insights(presenter, best, chosen, samples),
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
        # The files are data, and other versions open them too; these are recorded for comparison.
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
    opened, classes = problem.presenter.opened, range(len(samples.labels))
    measured = metrics.scores(MULTICLASS, samples.validation_codes, made.probabilities, classes)
    one = [opened(samples.train[0])]
    candidate.validation = {**measured, "InferenceLatency": median_seconds(lambda: made.predict(one))}
    some = metrics.sample(len(samples.train), TRAIN_SAMPLE)
    answers = [
        made.predict([opened(samples.train[position]) for position in batch])
        for batch in np.array_split(some, -(-len(some) // _BATCH))
    ]
    candidate.train = metrics.scores(MULTICLASS, samples.train_codes[some], np.concatenate(answers), classes)
