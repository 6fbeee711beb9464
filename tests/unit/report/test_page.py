"""The page: complete in itself, safe against what is in the data, and well-formed."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from airflow_automl.report import build, plots, render
from airflow_automl.report.scores import number
from tests.unit.report.samples import candidate, describe

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>\'"&'
INSIGHTS: dict[str, Any] = {
    "feature_importance": {f"feature {number} {EVIL}": float(number) for number in range(20)},
    "confusion_matrix": {"labels": ["No", EVIL], "rows": [[930, 105], [180, 194]]},
    "roc": {"fpr": [0.0, 0.2, 1.0], "tpr": [0.0, 0.8, 1.0]},
    "precision_recall": {"recall": [1.0, 0.5, 0.0], "precision": [0.3, 0.6, 1.0]},
    "predictions": {"actual": [1.0, 2.0, 3.0], "predicted": [1.1, 1.9, 3.5]},
    "residuals": {"counts": [1, 5, 2], "edges": [-1.0, -0.5, 0.5, 1.0]},
}


class Page(HTMLParser):
    """Collects what a page is made of, and whether its tags are closed."""

    VOID = frozenset({"meta", "img", "link", "br", "hr", "input", "wbr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def everything() -> str:
    rows = [candidate(f"{EVIL} {number}", 0.8 + number / 100, number) for number in range(4)]
    rows.append({**candidate("broken", None, 5), "FailureReason": EVIL})
    described = describe(
        BestCandidate=rows[3], PartialFailureReasons=[{"PartialFailureMessage": EVIL}], AutoMLJobName=EVIL
    )
    described["AutoMLProblemTypeConfig"]["TabularJobConfig"]["TargetAttributeName"] = EVIL
    report = build(
        described,
        rows,
        tags={EVIL: EVIL},
        insights=INSIGHTS,
        run={"dag_id": EVIL},
        previous={"job_name": EVIL, "metrics": {"AUC": 0.9}},
        timeline=[{"at": EVIL, "status": EVIL, "secondary_status": EVIL}],
    )
    return render(report)


def test_nothing_in_the_data_becomes_markup() -> None:
    page = Page(everything())
    assert not {"script", "img", "iframe", "link", "object", "form"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in {"style", "src", "href"}]


def test_tags_are_balanced() -> None:
    assert Page(everything()).open == []


def test_nothing_outside_is_loaded_and_the_policy_forbids_it() -> None:
    text = everything()
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert f'content="{policy}"' in text.replace("&#39;", "'")
    links = re.findall(r"https?://[^\s\"'<]+", text)
    assert set(links) <= {"http://www.w3.org/2000/svg"}


def test_every_plot_is_well_formed_and_has_its_values() -> None:
    drawings = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", everything(), re.DOTALL)]
    assert len(drawings) == 8
    for drawing in drawings:
        assert drawing.find("{http://www.w3.org/2000/svg}title") is not None


def test_dark_mode_phones_and_paper_are_thought_of() -> None:
    text = everything()
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert 'name="viewport"' in text


@pytest.mark.parametrize("status", ["Failed", "Stopped", "InProgress", "SomethingNew"])
def test_a_job_without_any_candidate_makes_a_page(status: str) -> None:
    described = describe(AutoMLJobStatus=status, AutoMLJobSecondaryStatus="Unheard")
    page = Page(render(build(described, [])))
    assert "svg" not in page.tags
    assert page.open == []


def test_the_least_that_a_service_can_answer_makes_a_page() -> None:
    assert "In progress" in render(build({}, [{}]))


def test_the_failure_reason_is_shown_once() -> None:
    text = render(build(describe(AutoMLJobStatus="Failed", FailureReason="No column churn"), []))
    assert text.count("No column churn") == 1


def test_a_long_leaderboard_is_cut_on_the_page_only() -> None:
    rows = [candidate(f"candidate-{number:03}", number / 1000, number) for number in range(150)]
    report = build(describe(BestCandidate=rows[-1]), rows)
    text = render(report)
    assert len(report["leaderboard"]) == 150
    assert "The first 100 of 150" in text


@pytest.mark.parametrize(
    "values", [[0.5], [0.5, 0.5], [0.0], [1e-9, 2e-9], [-5.0, 1e12], [0.1 * n for n in range(300)]]
)
def test_scores_of_any_size_can_be_drawn(values: list[float]) -> None:
    rows = [candidate(str(number), value, number) for number, value in enumerate(values)]
    report = build(describe(BestCandidate=rows[0]), rows)
    ElementTree.fromstring(plots.progress(report["progress"], "AUC"))
    ElementTree.fromstring(plots.metric_strips(report["leaderboard"], ["AUC"]))
    drawing = plots.gantt(report["leaderboard"], report["job"]["created"], report["job"]["ended"])
    assert drawing is not None
    ElementTree.fromstring(drawing)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.84551, "0.8455"),
        (0, "0"),
        (529.3, "529.3"),
        (123456.7, "123,457"),
        (1e-6, "1.000e-06"),
        (None, "\N{EN DASH}"),
    ],
)
def test_numbers(value: Any, text: str) -> None:
    assert number(value) == text


def test_the_timeline_says_how_long_each_step_lasted() -> None:
    seen = [
        {"at": "2026-11-21T04:00:05+00:00", "status": "InProgress", "secondary_status": "AnalyzingData"},
        {
            "at": "2026-11-21T04:01:35+00:00",
            "status": "InProgress",
            "secondary_status": "GeneratingModelInsightsReport",
        },
    ]
    page = render(build(describe(), [], timeline=seen))
    steps = re.findall(r"<li><b>(.*?)</b> <span>(.*?)</span></li>", page)
    assert [(re.sub("<.*?>", "", what), at) for what, at in steps] == [
        ("Created", "2026-11-21 04:00:00 UTC"),
        ("Analyzing data 1 min 30 s", "2026-11-21 04:00:05 UTC"),
        ("Generating model insights report 25 s", "2026-11-21 04:01:35 UTC"),
        ("Completed without a candidate", "2026-11-21 04:02:00 UTC"),
    ]
    ended = [*seen, {"at": "2026-11-21T04:02:00+00:00", "status": "Completed", "secondary_status": "Completed"}]
    assert render(build(describe(), [], timeline=ended)).count("Completed without a candidate</b>") == 1


def test_a_running_job_is_timed_until_now() -> None:
    now = datetime(2026, 11, 21, 4, 0, 50, tzinfo=UTC)
    running = describe(AutoMLJobStatus="InProgress", AutoMLJobSecondaryStatus="TrainingModels", EndTime=None)
    seen = [{"at": "2026-11-21T04:00:05+00:00", "status": "InProgress", "secondary_status": "TrainingModels"}]
    page = render(build(running, [], timeline=seen, now=now))
    assert "Training models <small>45 s</small></b>" in page
    assert "<li><b>Now</b> <span>2026-11-21 04:00:50 UTC</span></li>" in page
    assert "Now: In progress</b>" in render(build(running, [], now=now))


def test_the_page_has_the_cost_if_there_are_prices() -> None:
    prices = {"currency": "USD", "job": 30.0, "default": 1.0}
    assert "<dt>Cost</dt><dd>1.00 USD</dd>" in render(build(describe(), [], prices=prices))
    assert "Cost" not in render(build(describe(), []))
