"""The reports on the best candidate of a tabular job."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pandas as pd

from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.engines import metrics
from airflow_automl.local.training.engines.candidates import Candidate
from airflow_automl.local.training.engines.course import Course, Files
from airflow_automl.local.training.engines.reports import html, insights, shapley

MAX_SECONDS = 45.0
MAX_ROWS = 20_000
"""Validation rows that the insights are computed on."""

Scores = Callable[[pd.DataFrame], np.ndarray]


def report(
    course: Course, dataset: TabularDataset, candidate: Candidate, scores: Scores, known: np.ndarray, secondary: str
) -> str:
    """Report on the best candidate.

    :param course: of the job.
    :param dataset: what was trained on.
    :param candidate: the best one.
    :param scores: rows → predictions, or probabilities in the order of the labels.
    :param known: the answers for the validation rows, by models that had not seen the row.
    :param secondary: the secondary status that the training ended with.
    :return: the secondary status that the job ends with.
    """
    return course.report(
        candidate,
        lambda: _explain(dataset, candidate.name, scores, course.for_report(MAX_SECONDS, 0.4)),
        lambda: _insights(dataset, candidate, known),
        secondary,
    )


def _explain(dataset: TabularDataset, name: str, scores: Scores, seconds: float) -> Files:
    rows = dataset.validation[dataset.columns]
    result = shapley.contributions(rows, _outputs(dataset, scores), seconds)
    method = f"Shapley values by sampling: {result.rows} validation rows, {result.rounds} feature orders each"
    names = [f"label{index}" for index in range(len(result.values))]
    explained = {
        label: {
            "global_shap_values": dict(zip(dataset.columns, values.tolist(), strict=True)),
            "expected_value": float(expected),
        }
        for label, values, expected in zip(names, result.values, result.expected, strict=True)
    }
    overall = dict(zip(dataset.columns, result.values.mean(axis=0).tolist(), strict=True))
    return html.explanation(
        name,
        "Mean absolute contribution to the prediction",
        overall,
        method,
        labels=dict(zip(names, _output_names(dataset), strict=True)),
        explanations={"kernel_shap": explained},
    )


def _insights(dataset: TabularDataset, candidate: Candidate, scores: np.ndarray) -> Files:
    truth = dataset.validation[dataset.target].to_numpy()
    some = metrics.sample(len(truth), MAX_ROWS)
    document = insights.statistics(
        dataset.problem_type, truth[some], scores[some], dataset.labels, candidate.threshold, candidate.validation
    )
    page = insights.page(candidate.name, document)
    return {"statistics.json": json.dumps(document, indent=1), "report.html": page}


def _outputs(dataset: TabularDataset, scores: Scores) -> Scores:
    """Binary problems are explained by the positive class alone: the other one moves by the opposite."""

    def outputs(rows: pd.DataFrame) -> np.ndarray:
        found = scores(rows)
        if found.ndim == 1:
            return found[:, None]
        return found[:, 1:] if len(dataset.labels) == 2 else found

    return outputs


def _output_names(dataset: TabularDataset) -> list[str]:
    if not dataset.labels:
        return [dataset.target]
    return [str(label) for label in (dataset.labels[1:] if len(dataset.labels) == 2 else dataset.labels)]
