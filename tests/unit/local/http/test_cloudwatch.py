"""CloudWatch Logs of the trainers' logs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_automl.local.errors import ServiceError
from airflow_automl.local.http import cloudwatch as logs
from airflow_automl.local.http.messages import Request
from airflow_automl.local.state.database import Database
from airflow_automl.local.state.folder import DataFolder
from airflow_automl.local.state.jobs import JobStore

LINES = [f"line {number}" for number in range(30)]


@pytest.fixture
def service(tmp_path: Path) -> Any:
    folder = DataFolder(tmp_path / "data")
    folder.prepare()
    jobs = JobStore(Database(folder.database))
    for name in ("churn-a", "churn-b", "quiet"):
        jobs.add(name, f"arn:{name}", "V2", {})
        if name != "quiet":
            jobs.begin_attempt(name, 1.0)
            folder.job(name).mkdir(parents=True)
            (folder.job(name) / "trainer.log").write_text("\n".join(LINES) + "\n")
    return SimpleNamespace(folder=folder, jobs=jobs, region="us-east-1", account="1" * 12)


def ask(service: Any, operation: str, **members: Any) -> Any:
    headers = {"x-amz-target": f"Logs_20140328.{operation}"}
    request = Request("POST", "/", "/", "", headers, json.dumps({"logGroupName": logs.GROUP, **members}).encode())
    response = logs.answer(service, request)
    return None if response is None else json.loads(response.body)


def names(answer: Any) -> list[str]:
    return [stream["logStreamName"] for stream in answer["logStreams"]]


def test_each_job_that_trained_has_a_stream(service: Any) -> None:
    assert names(ask(service, "DescribeLogStreams")) == ["churn-a/trainer", "churn-b/trainer"]
    assert names(ask(service, "DescribeLogStreams", logStreamNamePrefix="churn-b")) == ["churn-b/trainer"]
    assert names(ask(service, "DescribeLogStreams", logStreamNamePrefix="churn-b/")) == ["churn-b/trainer"]
    assert names(ask(service, "DescribeLogStreams", logStreamNamePrefix="churn-")) == names(
        ask(service, "DescribeLogStreams")
    )
    for other in ("Churn-b", "churn-b/x", "churn-/", "x"):
        assert names(ask(service, "DescribeLogStreams", logStreamNamePrefix=other)) == []
    assert names(ask(service, "DescribeLogStreams", descending=True)) == ["churn-b/trainer", "churn-a/trainer"]
    assert names(ask(service, "DescribeLogStreams", logGroupName="/aws/sagemaker/ProcessingJobs")) == []
    page = ask(service, "DescribeLogStreams", limit=1)
    assert names(page) == ["churn-a/trainer"]
    assert names(ask(service, "DescribeLogStreams", limit=1, nextToken=page["nextToken"])) == ["churn-b/trainer"]


def test_the_group_that_the_sagemaker_sdk_reads_has_the_same_streams(service: Any) -> None:
    group = {"logGroupName": "/aws/sagemaker/AutoMLJobs"}
    found = ask(service, "DescribeLogStreams", logStreamNamePrefix="churn-a/", **group)
    assert names(found) == ["churn-a/trainer"]
    assert ":log-group:/aws/sagemaker/AutoMLJobs:log-stream:churn-a/trainer" in found["logStreams"][0]["arn"]
    events = ask(service, "GetLogEvents", logStreamName="churn-a/trainer", startFromHead=True, **group)["events"]
    assert [event["message"] for event in events] == LINES


def test_the_newest_streams_come_first_by_time(service: Any) -> None:
    service.jobs.set_phase("churn-a", "TrainingModels")
    newest = {"orderBy": "LastEventTime", "descending": True}
    assert names(ask(service, "DescribeLogStreams", **newest)) == ["churn-a/trainer", "churn-b/trainer"]
    page = ask(service, "DescribeLogStreams", limit=1, **newest)
    rest = ask(service, "DescribeLogStreams", nextToken=page["nextToken"], **newest)
    assert (names(page), names(rest)) == (["churn-a/trainer"], ["churn-b/trainer"])


def test_pruned_logs_make_short_pages_and_no_end(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_LOOKED_AT", 1)
    (service.folder.job("churn-a") / "trainer.log").unlink()
    page = ask(service, "DescribeLogStreams")
    assert names(page) == []
    assert names(ask(service, "DescribeLogStreams", nextToken=page["nextToken"])) == ["churn-b/trainer"]


def test_the_end_of_a_log_and_the_way_back(service: Any) -> None:
    stream = {"logStreamName": "churn-a/trainer", "limit": 20}
    answer = ask(service, "GetLogEvents", **stream)
    assert [event["message"] for event in answer["events"]] == LINES[10:]
    assert all(event["timestamp"] > 1e12 for event in answer["events"])
    earlier = ask(service, "GetLogEvents", **stream, nextToken=answer["nextBackwardToken"])
    assert [event["message"] for event in earlier["events"]] == LINES[:10]
    later = ask(service, "GetLogEvents", **stream, nextToken=answer["nextForwardToken"])
    # The same token again says that there is nothing more for now.
    assert (later["events"], later["nextForwardToken"]) == ([], answer["nextForwardToken"])
    head = ask(service, "GetLogEvents", **stream, startFromHead=True)
    assert [event["message"] for event in head["events"]] == LINES[:20]


@pytest.mark.parametrize("head", [True, False])
def test_a_long_log_is_read_whole_page_by_page_while_it_grows(service: Any, head: bool) -> None:
    path = service.folder.job("churn-a") / "trainer.log"
    lines = [f"{number:07} {'x' * 150}" for number in range(40_000)]
    path.write_text("\n".join(lines) + "\n")
    found: list[str] = []
    more: dict[str, Any] = {"startFromHead": True} if head else {}
    while (page := ask(service, "GetLogEvents", logStreamName="churn-a/trainer", **more))["events"]:
        new = [event["message"] for event in page["events"]]
        assert sum(len(line) + 26 for line in new) <= 1_000_000
        found = [*found, *new] if head else [*new, *found]
        more = {"nextToken": page["nextForwardToken" if head else "nextBackwardToken"]}
    assert found == lines
    with path.open("a") as log:
        log.write("one more\nand ano")
    if head:
        page = ask(service, "GetLogEvents", logStreamName="churn-a/trainer", **more)
        assert [event["message"] for event in page["events"]] == ["one more"]


@pytest.mark.parametrize(
    ("operation", "members", "code"),
    [
        ("GetLogEvents", {"logStreamName": "quiet/trainer"}, "ResourceNotFoundException"),
        ("GetLogEvents", {"logStreamName": "../churn-a/trainer"}, "ResourceNotFoundException"),
        ("GetLogEvents", {"logStreamName": "churn-a/trainer", "limit": 20_000}, "InvalidParameterException"),
        ("GetLogEvents", {"logStreamName": "churn-a/trainer", "nextToken": "x"}, "InvalidParameterException"),
        (
            "GetLogEvents",
            {"logStreamName": "churn-a/trainer", "nextToken": f"f/{'9' * 5000}"},
            "InvalidParameterException",
        ),
        ("GetLogEvents", {}, "InvalidParameterException"),
        ("GetLogEvents", {"logStreamName": 7}, "InvalidParameterException"),
        ("DescribeLogStreams", {"logStreamNamePrefix": 7}, "InvalidParameterException"),
        ("DescribeLogStreams", {"nextToken": {}}, "InvalidParameterException"),
        ("DescribeLogStreams", {"nextToken": "x"}, "InvalidParameterException"),
        ("DescribeLogStreams", {"limit": True}, "InvalidParameterException"),
        ("DescribeLogStreams", {"limit": 51}, "InvalidParameterException"),
        ("DescribeLogStreams", {"orderBy": "LastEventTime", "logStreamNamePrefix": "c"}, "InvalidParameterException"),
    ],
)
def test_refusals(service: Any, operation: str, members: dict[str, Any], code: str) -> None:
    with pytest.raises(ServiceError) as refusal:
        ask(service, operation, **members)
    assert refusal.value.code == code


def test_other_groups_and_operations_are_left_to_moto(service: Any) -> None:
    assert ask(service, "GetLogEvents", logGroupName="mine", logStreamName="s") is None
    assert ask(service, "PutLogEvents") is None
