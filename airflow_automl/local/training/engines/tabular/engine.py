"""Tabular jobs: reads the data, completes the request, and hands over to the mode's engine."""

from __future__ import annotations

import importlib
import logging

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data import dataset as datasets
from airflow_automl.local.training.data.channels import resolve
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.course import Course
from airflow_automl.local.training.engines.tabular import modes
from airflow_automl.local.training.engines.tabular.notebooks import publish

log = logging.getLogger(__name__)

_TRAINERS = {
    modes.ENSEMBLING: "airflow_automl.local.training.engines.tabular.ensembling.engine",
    modes.HYPERPARAMETER_TUNING: "airflow_automl.local.training.engines.tabular.tuning.engine",
}
"""Mode → the module that trains in it.

It has ``completion_criteria(given) -> resolved`` and ``run(course, dataset, algorithms) -> secondary``,
which reports the phases after AnalyzingData, and the candidates.
"""


def train(run: Run) -> str:
    """Train TabularJobConfig jobs; see :data:`airflow_automl.local.training.engines.base.Engine`."""
    spec, events = run.spec, run.events
    algorithms = spec.algorithms
    events.phase("AnalyzingData")
    channels = resolve(run.store, spec.request["AutoMLJobInputDataConfig"])
    mode = modes.resolve(spec.config, channels, algorithms)
    dataset = datasets.load(run.store, channels, spec.request, mode, run.folder / "download")
    log.info(
        "%d rows train, %d validate, %d features; %s, %s, %s",
        len(dataset.train),
        len(dataset.validation),
        len(dataset.features),
        dataset.problem_type,
        dataset.objective,
        mode,
    )
    events.data_failures(dataset.failures)
    trainer = importlib.import_module(_TRAINERS[mode])
    criteria = trainer.completion_criteria(dict(spec.criteria))
    events.resolved(dataset.problem_type, dataset.objective, mode, criteria)
    course = Course(run, dataset.problem_type, dataset.objective, criteria)
    only_definitions = spec.config.get("GenerateCandidateDefinitionsOnly")
    try:
        publish(course, dataset, mode, algorithms)
    except JobFailure:
        raise
    except Exception:
        if only_definitions:
            raise
        # Columns can hold anything: a notebook that fails must not fail the training.
        log.exception("The notebooks could not be made")
    if only_definitions:
        return "CandidateDefinitionsGenerated"
    secondary: str = trainer.run(course, dataset, algorithms)
    return secondary
