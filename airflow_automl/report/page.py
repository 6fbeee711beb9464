"""The report as one HTML page that loads nothing and runs nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache, partial
from importlib import resources
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from airflow_automl import __version__
from airflow_automl.contract.states import words
from airflow_automl.cost import cost_text
from airflow_automl.report import history, leaderboard, plots
from airflow_automl.report.scores import Scores, number, score
from airflow_automl.report.sections import Card, section_of
from airflow_automl.times import duration_text, moment, seconds_between

_ROWS = 100
_GANTT = 30
_STRIPS = 8
_LABELS = 12
_ROC = ("ROC curve", "false positive rate", "true positive rate")
_PRECISION = ("Precision and recall", "recall", "precision")


def _moment(value: datetime | str | None) -> str:
    known = moment(value)
    return known.strftime("%Y-%m-%d %H:%M:%S UTC") if known else str(value or "\N{EN DASH}")


def _breakable(name: str) -> Markup:
    """Let a long metric name in a table's head break before its capitals."""
    return Markup("<wbr>").join(part for part in re.split(r"(?<=[a-z])(?=[A-Z])", name) if part)


def environment(*packages: str) -> Environment:
    """Return what renders the templates of packages, and those of the report, with every value escaped."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in (*packages, "airflow_automl.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": number,
        "score": score,
        "scores": lambda name, *values: Scores(name, values),
        "words": words,
        "duration": duration_text,
        "money": cost_text,
        "moment": _moment,
        "breakable": _breakable,
        "json_text": partial(json.dumps, indent=2, ensure_ascii=False, default=str),
    }
    made.globals["version"] = __version__
    return made


@cache
def _environment() -> Environment:
    return environment()


@cache
def _asset(name: str) -> str:
    return (resources.files("airflow_automl.report") / "templates" / name).read_text(encoding="utf-8")


def _matrix(insights: Mapping[str, Any]) -> dict[str, Any] | None:
    matrix = insights.get("confusion_matrix")
    if not matrix or len(matrix["labels"]) > _LABELS:
        return None
    rows = []
    for row in matrix["rows"]:
        total = sum(row) or 1.0
        rows.append([{"count": count, "heat": min(4, int(5 * count / total))} for count in row])
    return {"labels": matrix["labels"], "rows": rows}


def _steps(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    job, seen = report["job"], [dict(each) for each in report["timeline"]]
    if job["ended"] and (not seen or seen[-1]["status"] != job["status"]):
        seen.append({"at": job["ended"], "status": job["status"], "secondary_status": job["secondary_status"]})
    steps: list[dict[str, Any]] = [{"what": "Created", "at": job["created"]}]
    for each in seen:
        ended = each["status"] == job["status"] and job["ended"]
        # While a job is in progress, the secondary status is more precise.
        what = report["verdict"]["title"] if ended else words(each["secondary_status"] or each["status"])
        steps.append({"what": what, "at": each["at"]})
    if not job["ended"]:
        steps.append({"what": "Now" if seen else f"Now: {report['verdict']['title']}", "at": report["generated"]})
    for step, after in zip(steps, [*steps[1:], None], strict=True):
        step["lasted"] = seconds_between(step["at"], after["at"]) if after and step is not steps[0] else None
    return steps


def _cards(report: Mapping[str, Any]) -> list[Card]:
    section = section_of(report["job"]["problem_type"])
    if section is None:
        return []
    name, module = section
    return list(module.cards(report["insights"].get(name) or {}, report))


def parts(report: Mapping[str, Any]) -> dict[str, Any]:
    """Draw what the report and the job's page in Airflow both show.

    :param report: from :func:`airflow_automl.report.document.build`.
    :return: ``plots``, ``matrix``, ``cards``, ``board``, ``feature_count`` and ``gantt_cut``, as the templates want.
    """
    rows, insights, objective = report["leaderboard"], report["insights"], report["summary"]["objective"]
    measured = [name for name in report["metric_names"] if any(name in row["metrics"] for row in rows)][:_STRIPS]
    importance = insights.get("feature_importance")
    rates, precision = insights.get("roc"), insights.get("precision_recall")
    pairs, residuals = insights.get("predictions"), insights.get("residuals")
    drawn = {
        "progress": plots.progress(report["progress"], objective) if report["progress"] and objective else None,
        "strips": plots.metric_strips(rows, measured) if len(rows) > 1 and measured else None,
        "features": plots.features(importance) if importance else None,
        "roc": plots.curve(rates["fpr"], rates["tpr"], _ROC, chance=True) if rates else None,
        "precision": plots.curve(precision["recall"], precision["precision"], _PRECISION) if precision else None,
        "scatter": plots.scatter(pairs["actual"], pairs["predicted"]) if pairs else None,
        "histogram": plots.histogram(residuals["counts"], residuals["edges"]) if residuals else None,
        "gantt": plots.gantt(rows, report["started"], report["job"]["ended"], _GANTT),
    }
    return {
        "plots": drawn,
        "matrix": _matrix(insights),
        "cards": _cards(report),
        "board": leaderboard.board(rows, report["metric_names"]),
        "feature_count": len(importance or ()),
        "gantt_cut": _GANTT if sum(row["seconds"] is not None for row in rows) > _GANTT else None,
    }


def pictured(cards: Iterable[Card]) -> str:
    """Return what a Content-Security-Policy must allow for the pictures in cards."""
    return "data:" if any("<img " in card.body for card in cards) else ""


def render_note(title: str, lines: Iterable[str], history: Markup) -> str:
    """Render a page about a run that has no job.

    :param lines: why.
    :param history: of the DAG's runs.
    """
    items = Markup("").join(Markup("<li><code>{}</code></li>").format(each) for each in lines)
    return Markup(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=color-scheme content='light dark'>"
        "<title>{0}</title><style>{1}</style><main><h1>{0}</h1><ul>{2}</ul>{3}</main></html>"
    ).format(title, Markup(_asset("report.css")), items, history)  # noqa: S704  # the style sheet is this package's


def render(report: Mapping[str, Any]) -> str:
    """Render a report's document.

    The page's Content-Security-Policy allows its own style sheet, pictures that are part of the page where a section
    shows some, and nothing else; every value of the document is escaped.

    :param report: from :func:`airflow_automl.report.document.build`.
    :return: the page.
    """
    style = _asset("report.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    shown = parts(report)
    pictures = f"; img-src {sources}" if (sources := pictured(shown["cards"])) else ""
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            **shown,
            report=report,
            history=history.section(report.get("history") or ()),
            steps=_steps(report),
            limit=_ROWS,
            style=Markup(style),  # noqa: S704  # the style sheet is a file of this package
            csp=f"default-src 'none'; style-src 'sha256-{digest}'{pictures}; base-uri 'none'; form-action 'none'",
        )
    )
