"""From a trained candidate to its artefact in S3."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from airflow_automl.local.models import artifacts
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.candidates import image, step
from airflow_automl.local.training.engines.timeseries.algorithms.base import Forecaster
from airflow_automl.local.training.engines.timeseries.dataset import PROBLEM_TYPE, Dataset

__all__ = ["export", "steps"]


def steps(run: Run, label: str) -> list[dict[str, str]]:
    """CandidateSteps: putting the series on the grid, and the training.

    :param run: the job.
    :param label: of the candidate.
    """
    return [step(run.spec, "processing-job", "grid"), step(run.spec, "training-job", f"train-{label}")]


def export(
    run: Run, dataset: Dataset, label: str, weights: Mapping[str, float], members: Mapping[str, Forecaster]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Put a candidate's artefact into S3.

    :param run: the job.
    :param dataset: what was trained on.
    :param label: of the candidate.
    :param weights: algorithm → its share in the forecast.
    :param members: algorithm → the trained one.
    :return: the InferenceContainers, and the SHA-256 of the artefact by its address.
    """
    panel = dataset.panel
    folder = run.folder / "export" / label
    archive = folder.with_name(f"{label}.tar.gz")
    metadata = {
        "engine": "timeseries",
        "problem_type": PROBLEM_TYPE,
        "objective": dataset.objective,
        "algorithm": label,
        "weights": dict(weights),
        "settings": panel.settings.as_json(),
        "calendar": panel.calendar.as_json(),
        "related": dataset.related.as_json(),
        "reader": dataset.reader.as_json(),
        "columns": [feature.as_json() for feature in dataset.columns],
        # The files are data and open with other versions too; these are noted for whoever looks for a difference.
        "written_with": artifacts.versions(["numpy", "statsforecast", "prophet", "torch"]),
        "job": run.spec.name,
    }
    try:
        for name in weights:
            (folder / name).mkdir(parents=True)
            members[name].save(folder / name)
        artifacts.pack(folder, metadata, archive)
        training = steps(run, label)[1]["CandidateStepName"]
        uri = f"{run.spec.output}training/{training}/output/model.tar.gz"
        digest = run.store.upload(archive, uri, "application/gzip")
    finally:
        archive.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    return [{"Image": image("forecasting"), "ModelDataUrl": uri, "Environment": {}}], {uri: digest}
