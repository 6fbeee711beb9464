"""Classification jobs: one candidate for each approach, then the reports on the best one."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from markupsafe import Markup

from airflow_automl.local.errors import JobFailure, cause
from airflow_automl.local.models import artifacts
from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.data.target import MULTICLASS
from airflow_automl.local.training.engines import comparison, metrics, reports
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.candidates import Candidate, image, step
from airflow_automl.local.training.engines.classification.approach import Approach, Samples, Trained
from airflow_automl.local.training.engines.classification.blend import BLEND, Blend, blend
from airflow_automl.local.training.engines.course import (
    PER_CANDIDATE,
    Clock,
    Course,
    Files,
    completion_criteria,
    median_seconds,
)

log = logging.getLogger(__name__)

OBJECTIVE = "Accuracy"
"""The only one there is (R42)."""

TIE_BREAK = "LogLoss"
"""Decides between equal accuracies, which few samples often give: the faster candidate is mostly the weaker one."""

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
    run.events.resolved(None, OBJECTIVE, None, criteria, tie_break=TIE_BREAK)
    course = Course(run, problem.name, OBJECTIVE, criteria, TIE_BREAK)
    run.events.phase("TrainingModels")
    training = _Training(course, problem, samples)
    approaches = _usable(course, problem)
    if course.criteria.get("MaxCandidates") == 1 and len(approaches) > 1:
        training.make(BLEND, lambda: training.train_all(approaches))
    else:
        for number, approach in enumerate(approaches):
            training.make(approach.name, partial(training.train, approach, len(approaches) - number))
        parts = {candidate.label: training.trained[candidate.name] for candidate in course.completed}
        if len(parts) > 1 and len((blended := blend(parts, samples.validation_codes)).parts) > 1:
            training.make(BLEND, lambda: blended)
    if (secondary := course.without_result()) is not None:
        return secondary
    best = course.best()
    chosen = training.trained[best.name]
    return course.report(
        best,
        lambda: explain(problem, best.name, chosen, samples, course.for_report(MAX_SECONDS, 0.4)),
        lambda: insights(problem, best, chosen, samples),
        "Completed",
    )


def _usable(course: Course, problem: Problem) -> list[Approach]:
    """Return the approaches that can be trained; report those that can't be as missing candidates, if there may be more
    than one candidate."""
    one = course.criteria.get("MaxCandidates") == 1
    reasons = {approach: approach.missing() for approach in problem.approaches}
    found = [approach for approach, reason in reasons.items() if reason is None]
    missing = [f"There is no candidate with {each.name}: {reason}" for each, reason in reasons.items() if reason]
    if not found:
        raise JobFailure(" ".join(missing))
    for message in missing:
        log.warning(message)
        if not one:
            course.run.events.partial_failure(message, "Candidate")
    return found


class _Training:
    def __init__(self, course: Course, problem: Problem, samples: Samples) -> None:
        self._course, self._problem, self._samples = course, problem, samples
        self._answers: dict[str, np.ndarray] = {}
        self.trained: dict[str, Trained] = {}

    def make(self, label: str, train: Callable[[], Trained]) -> None:
        """Make a candidate."""
        spec = self._course.run.spec
        steps = [step(spec, "processing-job", "db-1"), step(spec, "training-job", label)]
        self._course.make(label, steps, partial(self._publish, train))

    def train(self, approach: Approach, waiting: int, parts: int = 1) -> Trained:
        """Train an approach, within its share of the time.

        :param waiting: approaches that share the job's time, this one included.
        :param parts: of the candidate, which share the candidate's time.
        """
        course, threads = self._course, self._course.run.spec.threads
        limit = course.criteria.get(PER_CANDIDATE)
        clock = course.for_candidate(waiting).within(limit / parts if limit else None)
        return course.limited(lambda ask: approach.train(self._samples, clock, threads), share=clock.left)

    def train_all(self, approaches: Sequence[Approach]) -> Blend:
        """Train several approaches for one candidate; one that fails is left out.

        :raises Exception: all failed; the error of the last one.
        """
        made: dict[str, Trained] = {}
        notes: list[str] = []
        for number, approach in enumerate(approaches):
            waiting = len(approaches) - number
            try:
                made[approach.name] = self.train(approach, waiting, len(approaches))
            except Exception as error:
                if waiting == 1 and not made:
                    raise
                log.warning("the candidate is made without %s", approach.name, exc_info=error)
                notes.append(f"{approach.name} is not a part of the candidate: {cause(error)}")
        blended = blend(made, self._samples.validation_codes)
        return replace(blended, notes=[*notes, *blended.notes])

    def _publish(self, train: Callable[[], Trained], candidate: Candidate) -> dict[str, str]:
        made, problem, samples = train(), self._problem, self._samples
        candidate.parameters = made.settings
        self._measure(candidate, made)
        name = candidate.steps[-1]["CandidateStepName"]
        metadata = {
            "engine": problem.engine,
            **problem.metadata,
            "labels": list(samples.labels),
            "approach": candidate.label,
            "settings": dict(made.settings),
            # Other versions can open the files, too; these are recorded for comparison.
            "written_with": artifacts.versions(["numpy", "scikit-learn", "onnxruntime", "tokenizers", "pillow"]),
        }
        uri, digest = self._course.publish(f"training/{name}/output/model.tar.gz", metadata, made.save)
        environment = {"SAGEMAKER_INFERENCE_OUTPUT": "predicted_label", "SAGEMAKER_INFERENCE_SUPPORTED": _KEYS}
        # Both processing units run the same artefact.
        candidate.definitions = {
            unit.upper(): [{"Image": image(problem.engine, unit), "ModelDataUrl": uri, "Environment": environment}]
            for unit in ("cpu", "gpu")
        }
        self.trained[candidate.name] = made
        return {uri: digest}

    def _measure(self, candidate: Candidate, made: Trained) -> None:
        problem, samples = self._problem, self._samples
        classes = range(len(samples.labels))
        measured = metrics.scores(MULTICLASS, samples.validation_codes, made.probabilities, classes)
        one = [problem.opened(samples.train[0])]
        candidate.validation = {**measured, "InferenceLatency": median_seconds(lambda: made.predict(one))}
        some = metrics.sample(len(samples.train), TRAIN_SAMPLE)
        if isinstance(made, Blend) and set(made.parts) <= set(self._answers):
            answers = made.mean(self._answers)
        else:
            batches = np.array_split(some, -(-len(some) // _BATCH))
            opened = ([problem.opened(samples.train[position]) for position in batch] for batch in batches)
            answers = np.concatenate([made.predict(items) for items in opened])
        self._answers[candidate.label] = answers
        candidate.train = metrics.scores(MULTICLASS, samples.train_codes[some], answers, classes)


def explain(problem: Problem, name: str, trained: Trained, samples: Samples, seconds: float) -> Files:
    """Explain a candidate: how much the predicted class loses when a part of the sample is removed.

    :param seconds: no further sample is begun after this; one is always explained.
    """
    clock = Clock(seconds)
    losses: dict[str, list[float]] = {}
    count = 0
    cut = ""
    # In random order, so that no class is missing if the time runs out.
    positions = np.random.default_rng(SEED).permutation(reports.spread(len(samples.validation), EXPLAINED))
    for position in positions:
        if count and clock.passed:
            cut = f" of {len(positions)}"
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
    method = f"{problem.method} {count}{cut} validation samples."
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
        "statistics.json": reports.encode(document),
        "samples.json": reports.encode({"samples": examples, "notes": notes}),
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
