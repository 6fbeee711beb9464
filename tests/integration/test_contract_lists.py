"""ListAutoMLJobs with all filters, orders and pages (R107), and StopAutoMLJob (R109)."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.wire.autopilot import run_autopilot
from tests.wire.samples import valid_request

#: In the order of their creation, which is neither that of their names nor that of their last change.
NAMES = ["Mango", "apple", "kiwi-2", "Kiwi-10", "banana", "cherry", "plum"]
STOPPED = ["plum", "apple", "Kiwi-10"]


@pytest.fixture(scope="module")
def orchard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A client of a service of its own with a few jobs, and what describe says of each."""
    with run_autopilot(tmp_path_factory.mktemp("orchard"), max_jobs=0) as autopilot:
        client = autopilot.client()
        for number, name in enumerate(NAMES):
            api = "V1" if number % 2 else "V2"
            create = client.create_auto_ml_job if api == "V1" else client.create_auto_ml_job_v2
            create(**valid_request(Random(number), api, name))
            time.sleep(0.01)
        for name in STOPPED:
            client.stop_auto_ml_job(AutoMLJobName=name)
            _until_stopped(client, name)
            time.sleep(0.01)
        yield client, {name: client.describe_auto_ml_job_v2(AutoMLJobName=name) for name in NAMES}


def _until_stopped(client: Any, name: str) -> None:
    deadline = time.monotonic() + 20
    while client.describe_auto_ml_job_v2(AutoMLJobName=name)["AutoMLJobStatus"] != "Stopped":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def names(client: Any, **request: Any) -> list[str]:
    return [job["AutoMLJobName"] for job in client.list_auto_ml_jobs(**request)["AutoMLJobSummaries"]]


def test_the_default_order_is_by_name_descending(orchard: Any) -> None:
    client, _ = orchard
    assert names(client) == sorted(NAMES, key=str.lower, reverse=True)


def test_every_sort_key_in_both_orders(orchard: Any) -> None:
    client, jobs = orchard
    keys = {
        "Name": lambda name: name.lower(),
        "CreationTime": lambda name: jobs[name]["CreationTime"],
        "Status": lambda name: jobs[name]["AutoMLJobStatus"],
    }
    for sort_by, key in keys.items():
        ascending = names(client, SortBy=sort_by, SortOrder="Ascending")
        descending = names(client, SortBy=sort_by, SortOrder="Descending")
        assert sorted(ascending) == sorted(NAMES)
        assert [key(name) for name in ascending] == sorted(key(name) for name in NAMES)
        assert descending == ascending[::-1]
    assert names(client, SortBy="CreationTime", SortOrder="Ascending") == NAMES


def test_a_summary_says_what_describe_says(orchard: Any) -> None:
    client, jobs = orchard
    members = (
        "AutoMLJobName",
        "AutoMLJobArn",
        "AutoMLJobStatus",
        "AutoMLJobSecondaryStatus",
        "CreationTime",
        "EndTime",
        "LastModifiedTime",
    )
    for summary in client.list_auto_ml_jobs()["AutoMLJobSummaries"]:
        described = jobs[summary["AutoMLJobName"]]
        assert summary == {member: described[member] for member in members if member in described}
        assert ("EndTime" in summary) == (summary["AutoMLJobName"] in STOPPED)


@pytest.mark.parametrize(("part", "found"), [("kiwi", 2), ("KIWI-1", 1), ("an", 2), ("-", 2), ("nobody", 0)])
def test_a_part_of_the_name_in_any_case(orchard: Any, part: str, found: int) -> None:
    client, _ = orchard
    listed = names(client, NameContains=part)
    assert len(listed) == found
    assert all(part.lower() in name.lower() for name in listed)


def test_by_status(orchard: Any) -> None:
    client, _ = orchard
    assert sorted(names(client, StatusEquals="Stopped")) == sorted(STOPPED)
    assert sorted(names(client, StatusEquals="InProgress")) == sorted(set(NAMES) - set(STOPPED))
    assert names(client, StatusEquals="Failed") == []


@pytest.mark.parametrize("member", ["CreationTime", "LastModifiedTime"])
def test_by_time(orchard: Any, member: str) -> None:
    client, jobs = orchard
    for name in NAMES:
        moment = jobs[name][member]
        before = {other for other in NAMES if jobs[other][member] < moment}
        after = {other for other in NAMES if jobs[other][member] > moment}
        assert set(names(client, **{f"{member}Before": moment})) == before
        assert set(names(client, **{f"{member}After": moment})) == after
    assert names(client, **{f"{member}After": datetime(2100, 1, 1, tzinfo=UTC)}) == []
    assert names(client, **{f"{member}Before": datetime(2000, 1, 1, tzinfo=UTC)}) == []


def test_filters_narrow_together(orchard: Any) -> None:
    client, jobs = orchard
    after = jobs["Mango"]["CreationTime"]
    assert names(client, NameContains="kiwi", StatusEquals="Stopped", CreationTimeAfter=after) == ["Kiwi-10"]


@pytest.mark.parametrize(
    ("size", "sort_by", "order"),
    itertools.product([1, 2, 3, 7, 100], ["Name", "CreationTime", "Status"], ["Ascending", "Descending"]),
)
def test_all_pages_together_are_the_list(orchard: Any, size: int, sort_by: str, order: str) -> None:
    client, _ = orchard
    request = {"SortBy": sort_by, "SortOrder": order}

    pages = list(client.get_paginator("list_auto_ml_jobs").paginate(**request, PaginationConfig={"PageSize": size}))

    assert [job["AutoMLJobName"] for page in pages for job in page["AutoMLJobSummaries"]] == names(client, **request)
    assert len(pages) == -(-len(NAMES) // size)
    assert "NextToken" not in pages[-1]


@pytest.mark.parametrize("size", [0, -1, 101])
def test_page_sizes_are_1_to_100(orchard: Any, size: int) -> None:
    client, _ = orchard
    with pytest.raises(Exception, match="MaxResults") as error:
        client.list_auto_ml_jobs(MaxResults=size)
    if size > 100:  # boto3 checks the minimum itself, and leaves the maximum to the service
        assert isinstance(error.value, ClientError)


@pytest.mark.parametrize("token", ["x", "!!!", "bm9uc2Vuc2U=", "WzEsIDJd", "e30=", "W251bGwsIDFd"])
def test_an_unknown_token_is_invalid(orchard: Any, token: str) -> None:
    client, _ = orchard
    with pytest.raises(ClientError, match="NextToken") as error:
        client.list_auto_ml_jobs(NextToken=token)
    assert error.value.response["Error"]["Code"] == "ValidationException"


def test_stopping_again_changes_nothing(orchard: Any) -> None:
    client, jobs = orchard
    answer = client.stop_auto_ml_job(AutoMLJobName="plum")
    assert answer.keys() == {"ResponseMetadata"}
    described = client.describe_auto_ml_job_v2(AutoMLJobName="plum")
    assert described["LastModifiedTime"] == jobs["plum"]["LastModifiedTime"]
    assert (described["AutoMLJobStatus"], described["AutoMLJobSecondaryStatus"]) == ("Stopped", "Stopped")
    assert described["CreationTime"] <= described["EndTime"] <= described["LastModifiedTime"]


def test_a_job_that_trained_nothing_has_no_candidates(orchard: Any) -> None:
    client, _ = orchard
    for name in NAMES:
        assert client.list_candidates_for_auto_ml_job(AutoMLJobName=name)["Candidates"] == []


def test_the_autopilot_of_this_module_is_alive(orchard: Any) -> None:
    client, jobs = orchard
    assert len(names(client)) == len(jobs) == len(NAMES)
