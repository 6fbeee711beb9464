"""Trains HYPERPARAMETER_TUNING jobs: candidate after candidate, up to MaxCandidates or the time limit."""

from __future__ import annotations

import json
import logging
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.contract.metrics import rank
from airflow_automl.local.errors import JobFailure
from airflow_automl.local.models import artifacts
from airflow_automl.local.models.artifacts import Threshold
from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.engines import metrics
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.candidates import Candidate, image, step
from airflow_automl.local.training.engines.course import OUT_OF_TIME, Clock, Course, Stopped, median_seconds
from airflow_automl.local.training.engines.tabular import modes, reports
from airflow_automl.local.training.engines.tabular.tuning import table
from airflow_automl.local.training.engines.tabular.tuning.features import STANDARD, FeatureTransformer
from airflow_automl.local.training.engines.tabular.tuning.learners import Model, may_be_logarithmic
from airflow_automl.local.training.engines.tabular.tuning.search import (
    LINEAR,
    Choice,
    Proposal,
    Search,
    SearchSpace,
    algorithms_for,
)
from airflow_automl.local.training.engines.tabular.tuning.serving import (
    ALGORITHM,
    DECODE,
    ENCODE,
    LABELS,
    MODE,
    PROCESSOR,
)
from airflow_automl.local.training.engines.tabular.tuning.trial import Result, Workbench
from airflow_automl.local.training.engines.tabular.tuning.trials import Copies, Tasks

log = logging.getLogger(__name__)

DEFAULT_CANDIDATES = 100

TRAIN_SAMPLE = 5000
"""Rows of the training data that the Train metrics are measured on."""

CROSS_VALIDATION_ROWS = 20_000
"""Up to so many rows, each of them validates once, if there is time."""

CROSS_VALIDATION_TIMES = 1 / 8
"""The time that this needs, in that of ENSEMBLING's: XGBoost's first candidate takes from 2/3 of it to all of it."""

_MAX_FAILURES = 10
"""Candidates that may fail in a row before the search ends: the next ones would fail too."""

_BLENDED = 3
"""So many of the best candidates are blended."""

_SPARE = 10
"""Of fewer candidates than this, none is spared for the blend: the search needs them all."""

_KEYS = "predicted_label,probability,probabilities"
_ACCEPT = "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT"
_SCRIPT = {"SAGEMAKER_PROGRAM": "sagemaker_serve", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}


def completion_criteria(given: Mapping[str, int]) -> dict[str, int]:
    """Return the limits that a job runs under (R47); without any, the number of candidates ends it."""
    return {"MaxCandidates": DEFAULT_CANDIDATES, **given}


def run(course: Course, dataset: TabularDataset, algorithms: tuple[str, ...] | None) -> str:
    """Train the candidates of a job and report on the best one.

    :return: the secondary status that the job ends with.
    :raises JobFailure: no candidate could be trained.
    """
    tuning = train(course, dataset, algorithms)
    if tuning.best is None:
        return OUT_OF_TIME
    candidate, result = tuning.best
    known, linear = result.measured.scores, partial(linear_answers, tuning.bench)
    return reports.report(
        course, tuning.dataset, candidate, tuning.scores, known, tuning.unseen, linear, tuning.secondary
    )


def train(course: Course, dataset: TabularDataset, algorithms: tuple[str, ...] | None) -> Tuning:
    """Search, and report every candidate; the artefacts of the completed ones are in S3 when this returns.

    :raises JobFailure: no candidate could be trained, or the request asks for what this mode does not support (R65).
    """
    run = course.run
    chosen = algorithms_for(algorithms)
    if dataset.weight is not None:
        raise JobFailure(
            f"The sample weight column '{dataset.weight}' can't be used in HYPERPARAMETER_TUNING: set Mode to "
            "ENSEMBLING, or leave the weights out."
        )
    run.events.phase("FeatureEngineering")
    rows = len(dataset.train) + len(dataset.validation)
    sizes = (rows, len(dataset.features), len(dataset.labels))
    crossed = rows <= CROSS_VALIDATION_ROWS and modes.may_cross(
        *sizes, course.for_training(), run.spec.threads, CROSS_VALIDATION_TIMES
    )
    dataset = modes.arrange(run.spec.request, dataset, least=2, crossed=crossed)
    began = time.monotonic()
    transformer = FeatureTransformer.fit(dataset.train[dataset.columns], dataset.features)
    bench = workbench(run, dataset, transformer)
    space = SearchSpace(
        algorithms=chosen,
        classes=bench.classes,
        rows=len(bench.measuring.folds[0].train),
        objective=dataset.objective,
        logarithmic=not bench.classes and may_be_logarithmic(bench.measuring.everything.values),
    )
    log.info(
        "Features of %d columns are ready after %.1f s; %d folds, samples of %s ninths",
        len(dataset.features),
        time.monotonic() - began,
        len(bench.measuring.folds),
        [share for share, _ in bench.measuring.samples],
    )
    run.events.phase("ModelTuning")
    search = Search(space, run.spec.name, run.spec.trials, course.criteria["MaxCandidates"])
    tuning = Tuning(course, dataset, transformer, bench, search)
    tuning.run()
    return tuning


def linear_answers(bench: Workbench, clock: Clock) -> np.ndarray:
    """Train a linear model on standardized features, and return its answers for the validation rows."""
    choice = Choice(LINEAR, STANDARD, {"family": "logistic" if bench.classes else "ridge", "strength": 1e-3})
    return bench.run(choice, clock, lambda *_: False).measured.scores


def workbench(run: Run, dataset: TabularDataset, transformer: FeatureTransformer) -> Workbench:
    """Return what trials train with and are measured on."""

    def of(rows: pd.DataFrame) -> table.Table:
        values = rows[dataset.target]
        if dataset.classification:
            values = values.map({label: code for code, label in enumerate(dataset.labels)})
        numbers = np.asarray(values, dtype="int64" if dataset.classification else "float64")
        return table.Table(transformer, rows[dataset.columns], numbers, dataset.weights(rows))

    classes, train = len(dataset.labels), of(dataset.train)
    if dataset.crossed:
        measuring = table.Measuring.crossing(train, classes, len(dataset.validation))
    else:
        size = int(dataset.train[dataset.columns].memory_usage(index=False).sum())
        sampled = size >= table.FIDELITY_BYTES
        measuring = table.Measuring.holdout(train, of(dataset.validation), classes, sampled)
    return Workbench(
        measuring=measuring,
        problem_type=dataset.problem_type,
        objective=dataset.objective,
        classes=classes,
        # Trials on other nodes have cores of their own.
        threads=run.spec.threads if run.spec.cluster else max(1, run.spec.threads // run.spec.trials),
        sample=table.Part(train, metrics.sample(len(train), TRAIN_SAMPLE)),
    )


@dataclass
class Tuning:
    """A search.

    :param dataset: what is trained on; the validation rows are those that candidates are measured on.
    :param transformer: of the features.
    :param bench: trains candidates.
    :param search: proposes them.
    :param top: the best candidates and their models, the best one first.
    :param secondary: the secondary status that the search ended with.
    """

    course: Course
    dataset: TabularDataset
    transformer: FeatureTransformer
    bench: Workbench
    search: Search
    top: list[tuple[Candidate, Result]] = field(default_factory=list)
    secondary: str = "MaxCandidatesReached"
    _reading: dict[str, float] = field(default_factory=dict)
    _processors: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def best(self) -> tuple[Candidate, Result] | None:
        """The best candidate; ``None`` if the time limit was reached before the first one."""
        return self.top[0] if self.top else None

    def run(self) -> None:
        """Train candidates up to MaxCandidates or the time limit; one may be the blend of the best ones.

        :raises JobFailure: no candidate could be trained.
        """
        course = self.course
        end = Clock(course.for_training())
        took: list[float] = []
        failures, most = 0, course.criteria["MaxCandidates"]
        spared = int(most >= _SPARE)
        under_way: dict[int, tuple[Proposal, Candidate, float]] = {}
        spread = course.run.spec.cluster and course.run.spec.trials > 1
        with closing((Tasks if spread else Copies)(course, self.bench, end)) as trials:

            def fill() -> None:
                while len(course.candidates) < most - spared and len(under_way) < trials.at_once:
                    # With less than half of a usual candidate's time, beginning another one is useless.
                    usual = statistics.median(took) if took else 0.0
                    if end.left is not None and end.left <= 0.5 * usual:
                        self.secondary = OUT_OF_TIME
                    if self.secondary == OUT_OF_TIME:
                        return
                    proposal, began = self.search.propose(), time.monotonic()
                    under_way[proposal.number] = proposal, self._begin(proposal), began
                    trials.start(proposal)

            fill()
            while under_way:
                number, outcome = trials.first(
                    lambda number, progress: self.search.hopeless(under_way[number][0], *progress)
                )
                proposal, candidate, began = under_way.pop(number)
                if isinstance(outcome, Result):
                    self.search.tell(proposal, "Completed", outcome.measured.value)
                else:
                    self.search.tell(proposal, "Stopped" if isinstance(outcome, Stopped) else "Failed")
                if trials.at_once > 1:
                    # No core waits while this one is published.
                    fill()
                choice = proposal.choice
                options = {"hyperparameters": dict(choice.options), "balanced": choice.balanced}
                self._finish(candidate, outcome, {"algorithm": choice.algorithm, **options})
                took.append(time.monotonic() - began)
                failures = failures + 1 if candidate.status == "Failed" else 0
                if failures >= _MAX_FAILURES:
                    log.error("Search ended after %d failed candidates in a row", failures)
                    self.secondary, most = "Completed", 0
                fill()
                if spared and not under_way:
                    self._blend()
                    spared = 0
                    fill()
        log.info("%d candidates in %.1f s, %d of them completed", len(took), sum(took), len(course.completed))
        course.without_result()

    def _begin(self, proposal: Proposal) -> Candidate:
        number, choice, spec = proposal.number + 1, proposal.choice, self.course.run.spec
        steps = [
            step(spec, "processing-job", "db-1"),
            step(spec, "training-job", f"dpp-{choice.view}"),
            step(spec, "training-job", f"t{number}-{choice.algorithm}"),
        ]
        candidate = self.course.begin(f"trial-{number:03d}-{choice.algorithm}", steps)
        candidate.parameters = {"features": choice.view, "balanced": choice.balanced, **choice.options}
        return candidate

    def _blend(self) -> None:
        """Make the mean of what the best candidates answer another one, if that is better on the validation rows."""
        blended = self.bench.blend([result for _, result in self.top]) if len(self.top) == _BLENDED else None
        if blended is None:
            return
        spec, members = self.course.run.spec, [candidate.name for candidate, _ in self.top]
        steps = [
            step(spec, "processing-job", "db-1"),
            step(spec, "training-job", f"dpp-{blended.model.view.replace('+', '-')}"),
            step(spec, "training-job", "blend"),
        ]
        candidate = self.course.begin("blend", steps)
        candidate.parameters = {"members": members}
        self._finish(candidate, blended, {"algorithm": "blend", "members": members})

    def _finish(self, candidate: Candidate, outcome: Result | Exception, about: Mapping[str, Any]) -> None:
        """Publish a candidate that was trained.

        :param about: entries of the artefact's metadata: what was trained.
        """

        def work(candidate: Candidate) -> Mapping[str, str]:
            if isinstance(outcome, Exception):
                raise outcome
            candidate.threshold = outcome.measured.threshold
            candidate.validation = {**outcome.measured.metrics, "InferenceLatency": self._latency(outcome.model)}
            candidate.train = outcome.train
            return self._export(candidate, outcome.model, about)

        self.course.finish(candidate, work)
        if isinstance(outcome, Result) and candidate.status == "Completed":
            ranked = sorted([*self.top, (candidate, outcome)], key=lambda each: rank(each[0].document()) or ())
            self.top = ranked[:_BLENDED]

    def scores(self, rows: pd.DataFrame) -> np.ndarray:
        """Return the best candidate's answers for rows."""
        if self.best is None:
            raise JobFailure("No candidate was completed: there is nothing to predict with.")
        return self._answers(self.best[1].model, rows)

    def unseen(self) -> AbstractContextManager[reports.Unseen]:
        """Open the best candidate for validation rows that it has not seen: in a cross-validation, for a fold's."""
        if self.best is None:
            raise JobFailure("No candidate was completed: there is nothing to predict with.")
        model, rows = self.best[1].first, self.dataset.validation
        if not self.bench.measuring.crossed:
            return nullcontext(reports.Unseen(rows, partial(self._answers, model)))
        fold = rows.iloc[self.bench.measuring.folds[0].positions]
        return nullcontext(reports.Unseen(fold, partial(self._answers, model), reports.FIRST_FOLD))

    def _answers(self, model: Model, rows: pd.DataFrame) -> np.ndarray:
        return model.scores(self.transformer.transform(rows[self.dataset.columns], model.view))

    def _latency(self, model: Model) -> float:
        row = self.dataset.train[self.dataset.columns].iloc[:1]
        if model.view not in self._reading:
            self._reading[model.view] = median_seconds(lambda: self.transformer.transform(row, model.view))
        matrix = self.transformer.transform(row, model.view)
        return self._reading[model.view] + median_seconds(lambda: model.scores(matrix))

    def _export(self, candidate: Candidate, model: Model, about: Mapping[str, Any]) -> dict[str, str]:
        """Put what a candidate needs into S3, and set its InferenceContainers.

        :return: the SHA-256 of each artefact by its address.
        """
        _, processing, training = (entry["CandidateStepName"] for entry in candidate.steps)
        processor = self._processor(model.view, processing)
        algorithm = self._algorithm(model, candidate.threshold, training, about)
        classification = self.dataset.classification
        containers = [
            (
                "sklearn-automl",
                processor[0],
                {MODE: ENCODE, _ACCEPT: "application/x-recordio-protobuf", **_SCRIPT},
            ),
            (
                model.algorithm,
                algorithm[0],
                {
                    "MAX_CONTENT_LENGTH": "20971520",
                    _ACCEPT: "text/csv",
                    "SAGEMAKER_INFERENCE_OUTPUT": "predicted_label",
                    "SAGEMAKER_INFERENCE_SUPPORTED": _KEYS if classification else "predicted_label",
                },
            ),
        ]
        if classification:
            environment = {
                MODE: DECODE,
                _ACCEPT: "text/csv",
                "SAGEMAKER_INFERENCE_INPUT": "predicted_label",
                "SAGEMAKER_INFERENCE_OUTPUT": "predicted_label",
                "SAGEMAKER_INFERENCE_SUPPORTED": f"{_KEYS},labels",
                **_SCRIPT,
            }
            containers.append(("sklearn-automl", processor[0], environment))
        candidate.containers = [
            {"Image": image(name), "ModelDataUrl": uri, "Environment": environment}
            for name, uri, environment in containers
        ]
        return dict([processor, algorithm])

    def _processor(self, view: str, name: str) -> tuple[str, str]:
        """Publish the feature transformer, once for all candidates of a view."""

        def save(folder: Path) -> None:
            self.transformer.save(folder, view.split("+"))
            (folder / LABELS).write_text(json.dumps(list(self.dataset.labels)))

        if view not in self._processors:
            document = {"role": PROCESSOR, "view": view}
            key = f"data-processor-models/{name}/output/model.tar.gz"
            self._processors[view] = self._publish(key, document, save)
        return self._processors[view]

    def _algorithm(self, model: Model, threshold: Threshold, name: str, about: Mapping[str, Any]) -> tuple[str, str]:
        tuner = step(self.course.run.spec, "training-job", "tuning")["CandidateStepName"]
        key = f"tuning/{tuner}/{name}/output/model.tar.gz"
        document = {"role": ALGORITHM, "threshold": threshold, **about}
        return self._publish(key, document, lambda folder: model.save(folder, about))

    def _publish(self, key: str, document: Mapping[str, Any], save: Callable[[Path], None]) -> tuple[str, str]:
        data = self.dataset
        metadata = {
            "engine": "tuning",
            **document,
            "containers": 3 if data.classification else 2,
            "target": data.target,
            "features": [feature.as_json() for feature in data.features],
            "escaped": data.escaped,
            "labels": list(data.labels),
            # The files are data, and other versions open them too; these are recorded for comparison.
            "written_with": artifacts.versions(["numpy", "scipy", "pandas", "scikit-learn", "xgboost"]),
        }
        return self.course.publish(key, metadata, save)
