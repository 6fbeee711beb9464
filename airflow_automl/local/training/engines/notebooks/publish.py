"""Writes a job's notebooks where Autopilot puts them."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.notebooks import definitions, exploration

log = logging.getLogger(__name__)


def publish(
    run: Run, dataset: TabularDataset, mode: str, algorithms: tuple[str, ...] | None, criteria: dict[str, int]
) -> None:
    """Store both notebooks and report their locations.

    :param run: the job.
    :param dataset: what it trains on.
    :param mode: ENSEMBLING or HYPERPARAMETER_TUNING.
    :param algorithms: what the request names, ``None`` for all.
    :param criteria: the resolved CompletionCriteria.
    :raises JobFailure: the store refused them.
    """
    digest = hashlib.sha256(run.spec.arn.encode()).hexdigest()[:24]
    folder = f"{run.spec.output}sagemaker-automl-candidates/pr-1-{digest}/notebooks/"
    exploring = f"{folder}SageMakerAutopilotDataExplorationNotebook.ipynb"
    defining = f"{folder}SageMakerAutopilotCandidateDefinitionNotebook.ipynb"
    _store(run, exploration.build(run.spec, dataset), exploring)
    _store(run, definitions.build(run.spec, dataset, mode, algorithms, criteria), defining)
    run.events.artifacts(
        {"CandidateDefinitionNotebookLocation": defining, "DataExplorationNotebookLocation": exploring}
    )


def _store(run: Run, notebook: Any, uri: str) -> None:
    import nbformat

    nbformat.validate(notebook)
    run.store.write(nbformat.writes(notebook), uri, "application/x-ipynb+json")
