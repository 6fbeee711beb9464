"""The report's section of each problem type: read from the candidate's files; a failure does not fail the report."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from markupsafe import Markup

from airflow_automl.report import build, render
from airflow_automl.report.insights import read
from airflow_automl.report.sections import SECTIONS, Card, section_of
from tests.unit.report.samples import candidate, describe

CONFIG = {"AutoMLProblemTypeConfig": {"PoemJobConfig": {}}, "AutoMLProblemTypeConfigName": "Poem"}


@pytest.fixture
def poems(monkeypatch: pytest.MonkeyPatch) -> Any:
    section: Any = ModuleType("airflow_automl.report.sections.poems")
    section.read = lambda _candidate, list_objects, read_object: {
        "lines": [read_object(each).decode() for each in list_objects("s3://b/")]
    }
    section.cards = lambda found, _report: [
        Card("Lines <of it>", Markup("<p>{}</p>").format(line), "read aloud & well", wide=True)
        for line in found.get("lines", ())
    ]
    monkeypatch.setitem(sys.modules, section.__name__, section)
    monkeypatch.setitem(SECTIONS, "Poem", "poems")
    return section


def found(content: bytes = b"roses <are> red") -> dict[str, Any]:
    return read(candidate("c", 0.9, 1), lambda _prefix: ["s3://b/one"], lambda _address: content, "Poem")


def test_a_section_shows_what_it_read(poems: Any) -> None:
    insights = found()
    assert insights == {"poems": {"lines": ["roses <are> red"]}}

    page = render(build(describe(**CONFIG), [], insights=insights))

    assert '<section class="card wide">' in page
    assert "<h2>Lines &lt;of it&gt;</h2>" in page
    assert "<p>roses &lt;are&gt; red</p>" in page
    assert '<p class="note">read aloud &amp; well</p>' in page


def test_a_section_that_cannot_read_leaves_a_note_and_the_rest_of_the_page(poems: Any) -> None:
    insights = found(b"\xff")
    assert "poems" not in insights
    (note,) = insights["notes"]
    assert note.startswith("What belongs to Poem could not be read: ")

    assert "could not be read" in render(build(describe(**CONFIG), [], insights=insights))


def test_a_problem_type_without_a_section_adds_nothing() -> None:
    assert section_of("Regression") is section_of(None) is None
    assert read(candidate("c", 0.9, 1), lambda _: [], lambda _: b"", "Regression") == {}


def test_every_section_can_be_imported_and_shows_nothing_of_nothing() -> None:
    for problem_type in SECTIONS:
        _, section = section_of(problem_type) or ("", None)
        assert section is not None
        assert list(section.cards({}, build(describe(), []))) == []
