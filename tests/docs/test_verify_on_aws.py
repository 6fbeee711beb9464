"""The script for the open questions on AWS, run on answers of the embedded Autopilot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conformance.__main__ import EMBEDDED
from tests.conformance.recording import Recording
from tests.docs.pages import DOCS, table_rows
from tools import verify_on_aws


def test_every_question_is_a_row_of_the_page() -> None:
    topics = {row[0] for row in table_rows(DOCS / "not-verified-on-aws.md")}
    assert {question.topic for question in verify_on_aws.QUESTIONS} <= topics


def test_no_difference_from_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_on_aws.main(["--recorded", str(EMBEDDED)]) == 0
    printed = capsys.readouterr().out
    assert "0 differences in 214 calls" in printed
    assert "asked    HTTP 400 ResourceNotFound  (5 of 5)" in printed


def test_another_answer_is_shown_with_its_question(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = Recording.load(EMBEDDED)
    calls = [
        replace(call, error="ValidationException") if call.label.endswith("describe by the other version") else call
        for call in recording.calls
    ]
    Recording(recording.about, calls).save(tmp_path / "aws.json")
    assert verify_on_aws.main(["--recorded", str(tmp_path / "aws.json")]) == 1
    printed = capsys.readouterr().out
    section = printed.split("error code of `DescribeAutoMLJob` for a V2 job")[1].split("\n\n")[0]
    assert "asked    HTTP 400 ValidationException  (5 of 5)" in section
    assert "embedded HTTP 400 ResourceNotFound  (5 of 5)" in section


def test_it_calls_nothing_without_a_bucket_and_a_role() -> None:
    with pytest.raises(SystemExit) as ended:
        verify_on_aws.main([])
    assert ended.value.code == 2
