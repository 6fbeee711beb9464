"""The reports on the best candidate of a classification."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Protocol

import numpy as np

from airflow_automl.local.training.data.target import MULTICLASS
from airflow_automl.local.training.engines.candidates import Candidate
from airflow_automl.local.training.engines.classification.approach import Trained
from airflow_automl.local.training.engines.classification.samples import Samples
from airflow_automl.local.training.engines.course import Clock, Files
from airflow_automl.local.training.engines.reports import html
from airflow_automl.local.training.engines.reports.insights import sections, statistics

MAX_SECONDS = 15.0
EXPLAINED = 40
"""Validation samples that are explained, time permitting."""

SHOWN = 24
"""Validation samples that the insights show."""


class Presenter(Protocol):
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


def explain(presenter: Presenter, name: str, trained: Trained, samples: Samples, seconds: float) -> Files:
    """Explain the candidate: how much the predicted class loses when a part of the sample is taken out.

    :param presenter: takes samples apart.
    :param name: of the candidate.
    :param trained: predicts.
    :param samples: some of its validation samples are explained.
    :param seconds: no further sample is begun after this; one is always explained.
    """
    clock = Clock(seconds)
    losses: dict[str, list[float]] = {}
    count = 0
    for position in _spread(len(samples.validation), EXPLAINED):
        if count and clock.passed:
            break
        whole, parts = presenter.apart(samples.validation[position])
        if not parts:
            continue
        answers = trained.predict([whole, *parts.values()])
        chosen = int(answers[0].argmax())
        for part, loss in zip(parts, answers[0, chosen] - answers[1:, chosen], strict=True):
            losses.setdefault(part, []).append(float(loss))
        count += 1
    # The sum over the explained samples: what is seen once weighs less than what is seen often.
    importance = {part: float(np.sum(np.abs(values))) / max(count, 1) for part, values in losses.items()}
    top = dict(sorted(importance.items(), key=lambda entry: -entry[1])[:200])
    method = f"{presenter.method} {count} validation samples."
    explanations = {"occlusion": {"global_importance": top}}
    return html.explanation(name, "Contribution to the predicted class", top, method, explanations=explanations)


def insights(presenter: Presenter, candidate: Candidate, trained: Trained, samples: Samples) -> Files:
    """Make the model insights: ``statistics.json``, ``samples.json`` and a page.

    :param presenter: shows samples.
    :param candidate: the candidate.
    :param trained: has predicted the validation samples.
    :param samples: these.
    """
    truth = np.array(samples.labels, dtype=object)[samples.validation_codes]
    document = statistics(MULTICLASS, truth, trained.probabilities, samples.labels, 0.5, candidate.validation)
    examples, notes = _examples(presenter, trained, samples), [*samples.notes, *trained.notes]
    parts = [*sections(document), ("Samples", _table(examples))]
    if notes:
        parts.insert(0, ("Notes", "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>"))
    return {
        "statistics.json": json.dumps(document, indent=1),
        "samples.json": json.dumps({"samples": examples, "notes": notes}, ensure_ascii=False),
        "report.html": html.page(f"Model insights: {candidate.name}", parts),
    }


def _examples(presenter: Presenter, trained: Trained, samples: Samples) -> list[dict[str, Any]]:
    """Half of them wrong, the surest mistakes first; then right ones, from all over the data."""
    guess, sure = trained.probabilities.argmax(axis=1), trained.probabilities.max(axis=1)
    wrong = np.flatnonzero(guess != samples.validation_codes)
    right = np.flatnonzero(guess == samples.validation_codes)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")][: SHOWN // 2]
    chosen = [*wrong, *(right[each] for each in _spread(len(right), SHOWN - len(wrong)))]
    return [
        {
            **presenter.shown(samples.validation[position]),
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
