"""How a DAG's model did over its runs: what each run trained, what the deployed model scored, and how it ended.

The reports of a DAG's runs hand the history on, each with its own run added: XCom ``history``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from airflow_automl.contract import metrics
from airflow_automl.cost import cost_text
from airflow_automl.report.plots import Axes, span, svg, tag
from airflow_automl.report.scores import Scores, score
from airflow_automl.report.sections import finite, series, table
from airflow_automl.times import duration_text

MOST = 100
_ENDS = {
    "deployed": "Deployed",
    "rejected": "Rejected by the gate",
    "kept": "Not trained: the model is kept",
    "failed": "Failed",
    "stopped": "Stopped",
    "trained": "Trained, not deployed",
}


def entry(
    run: Mapping[str, Any],
    summary: Mapping[str, Any],
    at: str,
    evaluation: Mapping[str, Any] | None,
    decision: Mapping[str, Any] | None,
    gate: Mapping[str, Any] | None,
    deployment: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return what is noted of a run.

    :param summary: the report's; ``{}`` if the run has no job.
    :param at: when the run was reported, an ISO-8601 time.
    :param evaluation: what the deployed model scored, if it was evaluated.
    :param decision: whether to train, if that was asked.
    :param gate: the gate's decision.
    :param deployment: what the deployment returned.
    """
    evaluation, outcome = evaluation or {}, summary.get("outcome")
    objective = summary.get("objective") or metrics.objective_name(evaluation)
    if (decision or {}).get("train") is False:
        end = "kept"
    elif deployment:
        end = "deployed"
    elif (gate or {}).get("passed") is False:
        end = "rejected"
    else:
        end = "stopped" if outcome == "stopped" else "trained" if summary.get("value") is not None else "failed"
    return {
        "run_id": run.get("run_id"),
        "at": at,
        "objective": objective,
        "value": summary.get("value"),
        "live": metrics.candidate_metrics(evaluation).get(str(objective)),
        "interval": (evaluation.get("intervals") or {}).get(str(objective)),
        "end": end,
        "reason": ((gate if end == "rejected" else decision) or {}).get("reason"),
        "job_name": summary.get("job_name"),
        "runtime_seconds": summary.get("runtime_seconds"),
        "cost": summary.get("cost"),
    }


def _is_entry(each: Any) -> bool:
    """Return whether an element of an XCom is a history entry; any task may push something else under the same key."""
    known = set(entry({}, {}, "", None, None, None, None)) - {"cost"}  # older releases noted none
    if not isinstance(each, Mapping) or not known <= set(each):
        return False
    interval, numbers = each["interval"], [each[key] for key in ("value", "live", "runtime_seconds")]
    return (
        all(value is None or finite(value) for value in numbers)
        and (interval is None or len(series(interval)) == 2)
        and isinstance(each["objective"], str | None)
    )


def section(history: Sequence[Any]) -> Markup:
    """Draw the runs, oldest left, and list them below, newest first; nothing for a single run."""
    history = [each for each in history if _is_entry(each)]
    if len(history) < 2:
        return Markup("")
    names = [each["objective"] for each in history if each["objective"]]
    objective = names[-1] if names else "Score"
    shown = [each for each in history if each["objective"] in (None, objective)]
    values = [
        value
        for each in shown
        for value in (each["value"], each["live"], *(each["interval"] or ()))
        if value is not None
    ]
    scores = Scores(objective, values)
    priced = any(each.get("cost") for each in history)
    head = ("Run", "Best candidate", "Deployed model, live", "End", "Run time", *["Cost"] * priced)
    rows = [
        (
            str(each["run_id"]),
            scores.text(each["value"]),
            scores.text(each["live"])
            + (" ({} to {})".format(*map(scores.text, each["interval"])) if each["interval"] else ""),
            _ENDS.get(each["end"], str(each["end"])),
            duration_text(each["runtime_seconds"]),
            *[cost_text(each.get("cost"))] * priced,
        )
        for each in reversed(history)
    ]
    note = "Line: score of the deployed model. Points: the best candidate of a run, blue if deployed."
    parts = [
        tag("h2", f"{objective} over the runs"),
        _picture(shown, objective, values) if values else "",
        tag("p", note, class_="note"),
        table(head, rows, text=True),
    ]
    return tag("section", Markup("").join(parts), class_="card long")


def _picture(shown: Sequence[Mapping[str, Any]], objective: str, values: Sequence[float]) -> Markup:
    axes = Axes((-0.3, len(shown) - 0.7), span(values))
    live = [(place, each) for place, each in enumerate(shown) if each["live"] is not None]
    parts = axes.frame("runs, the newest on the right", {})
    if band := [(place, each["interval"]) for place, each in live if each["interval"]]:
        around = [(place, each[0]) for place, each in band] + [(place, each[1]) for place, each in reversed(band)]
        parts.append(axes.line(around, "band", "polygon"))
    parts.append(axes.line([(place, each["live"]) for place, each in live]))
    for place, each in enumerate(shown):
        if each["value"] is not None:
            ended = _ENDS.get(each["end"], each["end"])
            title = f"{each['run_id']}: {objective} {score(each['value'], objective)}, {ended}"
            parts.append(axes.dot(place, each["value"], title, each["end"] == "deployed"))
    return svg(axes.height, f"{objective} over {len(shown)} runs", parts)
