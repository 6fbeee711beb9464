"""Model insights: how good the best candidate is beside the seasonal naive forecast, and what the data was like."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_automl.local.training.engines.course import Files
from airflow_automl.local.training.engines.reports import html


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


def insights(name: str, summary: Mapping[str, Any], facts: Mapping[str, Any]) -> Files:
    """Make ``statistics.json`` and a page.

    :param name: the candidate's.
    :param summary: of its backtests.
    :param facts: about the data.
    """
    said = verdict(summary)
    document = {
        "version": 0.0,
        "dataset": {"item_count": facts["rows"], **facts},
        "forecast_metrics": {"verdict": said, **summary},
    }
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
                html.table(
                    [[key, value] for key, value in facts.items() if type(value) is not list], ["what", "value"]
                ),
            ),
            *([("Notes", html.table([[note] for note in facts["notes"]], ["on the data"]))] if facts["notes"] else []),
        ],
    )
    return {"statistics.json": json.dumps(document, indent=1), "report.html": page}
