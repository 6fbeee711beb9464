"""Candidates beside one another, or one of them alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from airflow_automl.contract import documents
from airflow_automl.contract.states import words
from airflow_automl.report.document import build, details
from airflow_automl.report.leaderboard import board
from airflow_automl.times import duration_text


class Line(NamedTuple):
    """One line of a comparison: a text for each candidate."""

    label: str
    texts: Sequence[str]

    @property
    def differs(self) -> bool:
        return len(set(self.texts)) > 1


def compare(
    describe: Mapping[str, Any], chosen: Sequence[Mapping[str, Any]], parameters: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    """Lay out candidates beside one another.

    :param describe: the job.
    :param chosen: the candidates, as the service lists them.
    :param parameters: the hyperparameters of each.
    :return: ``labels``, the candidates' short names, and ``groups``: titles with their lines.
    """
    report = build(describe, chosen)
    laid = board(report["leaderboard"], report["metric_names"])
    by_name = {row["name"]: row for row in (*laid["rows"], *laid["given_up"])}
    rows = [by_name[str(each["CandidateName"])] for each in chosen]
    about = [details(documents.json_safe(each)) or {} for each in chosen]
    groups = {
        "Candidate": _lines(_facts(row) for row in rows),
        "Metrics": [
            Line(column.label, [row["cells"][at] for row in rows]) for at, column in enumerate(laid["columns"])
        ],
        "Metrics on the training data": _lines(
            {
                column.label: column.text(each["metrics"][column.name]["Train"])
                for column in laid["columns"]
                if "Train" in each["metrics"].get(column.name, ())
            }
            for each in about
        ),
        "Hyperparameters": _lines(parameters),
        "Steps": _lines(_numbered((step["type"], step["name"]) for step in each["steps"]) for each in about),
        "Containers": _lines(
            _numbered(pair for container in each["containers"] for pair in container.items()) for each in about
        ),
    }
    return {"labels": [row["label"] for row in rows], "groups": {title: each for title, each in groups.items() if each}}


def _facts(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        "Name": row["name"],
        "Status": words(row["status"]),
        "Algorithm": row["algorithm"],
        "Trained in": duration_text(row["seconds"]),
        "Begun": row["created"],
        "Ended": row["ended"],
        "Reason": row["failure"],
    }


def _numbered(pairs: Iterable[tuple[str | None, str | None]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if value:
            label = words(str(name).rpartition(":")[2]).capitalize()
            found[label if label not in found else f"{label} {sum(key.startswith(label) for key in found) + 1}"] = value
    return found


def _lines(given: Iterable[Mapping[str, Any]]) -> list[Line]:
    each = list(given)
    labels = dict.fromkeys(label for values in each for label, value in values.items() if value not in (None, ""))
    return [Line(label, [str(values.get(label) or "\N{EN DASH}") for values in each]) for label in labels]
