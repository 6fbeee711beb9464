"""Model insights: how good the best candidate is beside the seasonal naive forecast, and what the data was like."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.reports import html

__all__ = ["give_insights", "verdict"]


def verdict(summary: Mapping[str, Any]) -> str:
    """One sentence on whether the candidate is worth its trouble."""
    objective = summary["objective"]
    mine, bar = summary["metrics"].get(objective), summary["seasonal_naive"].get(objective)
    if mine is None or bar is None:
        return f"{objective} is not defined for both the candidate and the seasonal naive forecast."
    if mine < bar:
        return f"Better than the seasonal naive forecast: {objective} {mine:.4g} against {bar:.4g}."
    return (
        f"Not better than the seasonal naive forecast: {objective} {mine:.4g} against {bar:.4g}. Use that one instead."
    )


def give_insights(run: Run, name: str, summary: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Write ``statistics.json`` and a page.

    :param run: the job.
    :param name: the candidate's.
    :param summary: of its backtests.
    :param facts: about the data.
    :return: the address that the files lie under.
    """
    said = verdict(summary)
    document = {
        "version": 0.0,
        "dataset": {"item_count": facts["rows"], **facts},
        "forecast_metrics": {"verdict": said, **summary},
    }
    location = f"{run.spec.output}documentation/model_monitor/output/{name}"
    metrics = [
        [metric, value, summary["seasonal_naive"].get(metric, "")] for metric, value in summary["metrics"].items()
    ]
    covered = [[quantile, int(quantile[1:]) / 100, share] for quantile, share in summary["coverage"].items()]
    page = html.page(
        f"Model insights: {name}",
        [
            ("Verdict", html.table([[said]], ["on the backtests"])),
            ("Metrics", html.table(metrics, ["metric", "candidate", "seasonal naive"])),
            (
                "Quantiles: how often the true value was not above them",
                html.table(covered, ["quantile", "should be", "was"]),
            ),
            ("Weights", html.table([list(pair) for pair in summary["weights"].items()], ["algorithm", "weight"])),
            (
                "Data",
                html.table([[key, value] for key, value in facts.items() if key != "features"], ["what", "value"]),
            ),
        ],
    )
    run.store.write(json.dumps(document, indent=1), f"{location}/statistics.json", "application/json")
    run.store.write(page, f"{location}/report.html", "text/html; charset=utf-8")
    return location
