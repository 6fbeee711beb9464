"""The reports on the best candidate of a classification, each in its phase, and never the end of a job."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Protocol

import numpy as np

from airflow_automl.local.training.data.target import MULTICLASS
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.budget import Budget
from airflow_automl.local.training.engines.candidates import Candidate
from airflow_automl.local.training.engines.classification.approach import Trained
from airflow_automl.local.training.engines.classification.samples import Samples
from airflow_automl.local.training.engines.reports import html, insights

__all__ = ["Teller", "explain", "give_insights"]

log = logging.getLogger(__name__)

MAX_SECONDS = 15.0
EXPLAINED = 40
"""Validation samples that are explained, time permitting."""

SHOWN = 24
"""Validation samples that the insights show."""


class Teller(Protocol):
    """Takes samples apart, to explain them, and shows them.

    :param method: how importance is measured, in a sentence.
    """

    method: str

    def apart(self, item: Any) -> tuple[Any, Mapping[str, Any]]:
        """A sample and what it consists of: name of a part → the sample without it; all of them as they are served.

        A sample that can't be taken apart has no parts.
        """
        ...

    def opened(self, item: Any) -> Any:
        """A sample as it is served."""
        ...

    def shown(self, item: Any) -> dict[str, str]:
        """A sample for a page: ``text``, or ``image`` (a ``data:`` address of a PNG)."""
        ...


def explain(run: Run, teller: Teller, candidate: Candidate, trained: Trained, samples: Samples, budget: Budget) -> None:
    """Write the explainability report: how much the predicted class loses when a part of the sample is taken out.

    :param run: the job.
    :param teller: takes samples apart.
    :param candidate: gets the report's location.
    :param trained: predicts.
    :param samples: some of its validation samples are explained.
    :param budget: time that is left.
    """
    try:
        ends = time.monotonic() + budget.share(MAX_SECONDS, 0.4)
        losses: dict[str, list[float]] = {}
        count = 0
        for position in _spread(len(samples.validation), EXPLAINED):
            if count and time.monotonic() > ends:
                break
            whole, parts = teller.apart(samples.validation[position])
            if not parts:
                continue
            answers = trained.predict([whole, *parts.values()])
            chosen = int(answers[0].argmax())
            for name, loss in zip(parts, answers[0, chosen] - answers[1:, chosen], strict=True):
                losses.setdefault(name, []).append(float(loss))
            count += 1
        # The sum over the explained samples: what is seen once weighs less than what is seen often.
        importance = {name: float(np.sum(np.abs(values))) / max(count, 1) for name, values in losses.items()}
        top = dict(sorted(importance.items(), key=lambda entry: -entry[1])[:200])
        method = f"{teller.method} {count} validation samples."
        document = {"version": "1.0", "method": method, "explanations": {"occlusion": {"global_importance": top}}}
        location = f"{run.spec.output}documentation/explainability/output/{candidate.name}"
        text = html.page(
            f"Explainability: {candidate.name}",
            [("What the candidate looks at", html.bars(top)), ("Method", f"<p>{escape(method)}</p>")],
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
    run: Run, teller: Teller, candidate: Candidate, trained: Trained, samples: Samples, notes: Sequence[str]
) -> None:
    """Write the model insights: ``statistics.json``, ``samples.json`` and a page.

    :param run: the job.
    :param teller: shows samples.
    :param candidate: gets the location.
    :param trained: has predicted the validation samples.
    :param samples: these.
    :param notes: what a person should know about the data and the candidate.
    """
    try:
        truth = np.array(samples.labels, dtype=object)[samples.validation_codes]
        document = insights.statistics(
            MULTICLASS, truth, trained.probabilities, samples.labels, 0.5, candidate.validation
        )
        examples = _examples(teller, trained, samples)
        location = f"{run.spec.output}documentation/model_monitor/output/{candidate.name}"
        run.store.write(json.dumps(document, indent=1), f"{location}/statistics.json", "application/json")
        shown = {"samples": examples, "notes": list(notes)}
        run.store.write(json.dumps(shown, ensure_ascii=False), f"{location}/samples.json", "application/json")
        sections = [*insights.sections(document), ("Samples", _table(examples))]
        if notes:
            sections.insert(0, ("Notes", "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>"))
        text = html.page(f"Model insights: {candidate.name}", sections)
        run.store.write(text, f"{location}/report.html", "text/html; charset=utf-8")
    except Exception as error:
        log.exception("The model insights failed")
        run.events.partial_failure(f"The model insights of {candidate.name} failed: {error}", "ModelInsightsError")
        return
    candidate.insights = location
    run.events.candidate(candidate.document())


def _examples(teller: Teller, trained: Trained, samples: Samples) -> list[dict[str, Any]]:
    """Half of them wrong, the surest mistakes first; then right ones, from all over the data."""
    guess, sure = trained.probabilities.argmax(axis=1), trained.probabilities.max(axis=1)
    wrong = np.flatnonzero(guess != samples.validation_codes)
    right = np.flatnonzero(guess == samples.validation_codes)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")][: SHOWN // 2]
    chosen = [*wrong, *(right[each] for each in _spread(len(right), SHOWN - len(wrong)))]
    return [
        {
            **teller.shown(samples.validation[position]),
            "actual": samples.labels[samples.validation_codes[position]],
            "predicted": samples.labels[guess[position]],
            "probability": round(float(sure[position]), 4),
        }
        for position in chosen
    ]


def _spread(count: int, most: int) -> list[int]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int)).tolist() if count else []


def _table(examples: Sequence[Mapping[str, Any]]) -> str:
    rows = "".join(
        "<tr><td>"
        + (f'<img alt="" src="{escape(each["image"])}">' if "image" in each else escape(each["text"]))
        + f"</td><td>{escape(each['actual'])}</td><td>{escape(each['predicted'])}</td>"
        + f"<td>{each['probability']:.2f}</td></tr>"
        for each in examples
    )
    header = "".join(f"<th>{name}</th>" for name in ("sample", "actual", "predicted", "probability"))
    return f"<table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table>"
