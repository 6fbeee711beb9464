"""The reports on the best candidate, each in its phase, within its time, and never the end of a job."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from airflow_automl.contract.metrics import best
from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.budget import Budget
from airflow_automl.local.training.engines.candidates import Candidate
from airflow_automl.local.training.engines.reports import html, insights, shapley

__all__ = ["best_of", "explain", "give_insights"]

log = logging.getLogger(__name__)

MAX_SECONDS = 45.0
MAX_ROWS = 20_000
"""Validation rows that the insights are computed on."""

Scores = Callable[[pd.DataFrame], np.ndarray]


def best_of(candidates: Iterable[Candidate], objective: str) -> Candidate:
    """The candidate that the job will answer as its BestCandidate (R94)."""
    by_name = {entry.name: entry for entry in candidates}
    chosen = best([entry.document() for entry in by_name.values()], objective)
    return by_name[chosen["CandidateName"]] if chosen else next(iter(by_name.values()))


def explain(run: Run, dataset: TabularDataset, candidate: Candidate, scores: Scores, budget: Budget) -> None:
    """Write the explainability report: ``analysis.json`` in Clarify's layout, and a page.

    :param run: the job.
    :param dataset: its validation rows are explained.
    :param candidate: gets the report's location.
    :param scores: rows → predictions, or probabilities in the order of the labels.
    :param budget: time that is left.
    """
    try:
        rows = dataset.validation[dataset.columns]
        result = shapley.contributions(rows, _outputs(dataset, scores), budget.share(MAX_SECONDS, 0.4))
        names = [f"label{index}" for index in range(len(result.values))]
        document = {
            "version": "1.0",
            "method": (
                f"Shapley values by sampling: {result.rows} validation rows, {result.rounds} feature orders each"
            ),
            "labels": dict(zip(names, _output_names(dataset), strict=True)),
            "explanations": {
                "kernel_shap": {
                    name: {
                        "global_shap_values": dict(zip(dataset.columns, values.tolist(), strict=True)),
                        "expected_value": float(expected),
                    }
                    for name, values, expected in zip(names, result.values, result.expected, strict=True)
                }
            },
        }
        overall = dict(zip(dataset.columns, result.values.mean(axis=0).tolist(), strict=True))
        location = f"{run.spec.output}documentation/explainability/output/{candidate.name}"
        text = html.page(
            f"Explainability: {candidate.name}",
            [
                ("Mean absolute contribution to the prediction", html.bars(overall)),
                ("Method", _note(document["method"])),
            ],
        )
        run.store.write(json.dumps(document, indent=1), f"{location}/analysis.json", "application/json")
        run.store.write(text, f"{location}/report.html", "text/html; charset=utf-8")
    except Exception as error:
        log.exception("The explainability report failed")
        run.events.partial_failure(
            f"The explainability report of {candidate.name} failed: {error}", "ExplainabilityError"
        )
        return
    candidate.explainability = location
    run.events.candidate(candidate.document())


def give_insights(
    run: Run, dataset: TabularDataset, candidate: Candidate, truth: np.ndarray, scores: np.ndarray
) -> None:
    """Write the model insights: ``statistics.json`` in Model Monitor's layout, and a page.

    :param run: the job.
    :param dataset: what was trained on.
    :param candidate: gets the location.
    :param truth: the target's values on rows that the candidate did not learn from.
    :param scores: what it said about these: predictions, or probabilities in the order of the labels.
    """
    try:
        if len(truth) > MAX_ROWS:
            some = np.sort(np.random.default_rng(SEED).choice(len(truth), MAX_ROWS, replace=False))
            truth, scores = truth[some], scores[some]
        document = insights.statistics(
            dataset.problem_type,
            truth,
            scores,
            dataset.labels,
            candidate.threshold,
            candidate.validation,
        )
        location = f"{run.spec.output}documentation/model_monitor/output/{candidate.name}"
        run.store.write(json.dumps(document, indent=1), f"{location}/statistics.json", "application/json")
        run.store.write(insights.page(candidate.name, document), f"{location}/report.html", "text/html; charset=utf-8")
    except Exception as error:
        log.exception("The model insights failed")
        run.events.partial_failure(f"The model insights of {candidate.name} failed: {error}", "ModelInsightsError")
        return
    candidate.insights = location
    run.events.candidate(candidate.document())


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


def _note(text: object) -> str:
    return html.table([[text]], ["how"])
