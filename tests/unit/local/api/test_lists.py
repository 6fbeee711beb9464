"""Pages of lists are correct for all filters, orders and sizes, also while entries change, and read few rows."""

from __future__ import annotations

import base64
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_automl.local.api import OPERATIONS
from airflow_automl.local.errors import ServiceError
from airflow_automl.local.state import lists
from airflow_automl.local.state.database import Database, dump
from airflow_automl.local.state.jobs import JobStore
from airflow_automl.local.state.resources import ResourceStore

PARTS = ("churn", "Price", "demand", "x9", "Zq")
STATUSES = ("Completed", "Failed", "Stopped", "InProgress")
COUNT = 700
FILTERS: list[dict[str, Any]] = [
    {},
    {"NameContains": "CHURN"},
    {"NameContains": "nothing"},
    {"NameContains": "zq"},
    {"NameContains": 'no"quote'},
    {"NameContains": "-"},
    {"NameContains": "e-6"},
    {"NameContains": "99"},
    {"NameContains": "Q"},
    {"NameContains": "jk", "StatusEquals": "Failed"},
    {"StatusEquals": "Failed"},
    {"StatusEquals": "Stopping"},
    {"CreationTimeAfter": 1350.0},
    {"CreationTimeAfter": 1690.0},
    {"CreationTimeBefore": 1010.0},
    {"LastModifiedTimeAfter": 1400.0},
    {"LastModifiedTimeBefore": 1005.0, "CreationTimeAfter": 1001.0},
    {"NameContains": "price", "StatusEquals": "Completed", "CreationTimeAfter": 1100.0, "CreationTimeBefore": 1600.0},
]
ORDERS = [*itertools.product(("Name", "CreationTime", "Status"), ("Ascending", "Descending"))]


class Entry(SimpleNamespace):
    """A job or model as the reference knows it."""


def entries(count: int = COUNT) -> list[Entry]:
    chance = random.Random(5)
    return [
        Entry(
            name=f"{chance.choice(PARTS)}-{number}",
            status=chance.choice(STATUSES),
            created=1000.0 + number,
            modified=1000.0 + number + chance.randrange(50),
        )
        for number in range(count)
    ]


def fill_jobs(database: Database, found: list[Entry]) -> None:
    with database.transaction():
        for each in found:
            database.execute(
                "INSERT INTO jobs (name, arn, api, request, status, secondary, stage, created, modified)"
                " VALUES (?, ?, 'V2', '{}', ?, ?, 'ended', ?, ?)",
                (each.name, f"arn:{each.name}", each.status, each.status, each.created, each.modified),
            )


def fill_endpoints(database: Database, found: list[Entry]) -> None:
    with database.transaction():
        for each in found:
            document = dump({"EndpointConfigName": "c"})
            row = ("endpoint", each.name, f"arn:{each.name}", None, each.status, each.created, each.modified, document)
            database.execute("INSERT INTO resources VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            database.execute(
                "INSERT INTO resources VALUES ('model', ?, ?, NULL, NULL, ?, ?, '{}')",
                (each.name, f"arn:model/{each.name}", each.created, each.modified),
            )


@pytest.fixture(params=["ListAutoMLJobs", "ListEndpoints"])
def listed(request: pytest.FixtureRequest, database: Database) -> tuple[Callable[..., Any], list[Entry]]:
    """A function that lists names and returns the next token, and what there is to list."""
    operation: str = request.param
    found = entries()
    (fill_jobs if operation == "ListAutoMLJobs" else fill_endpoints)(database, found)
    backend: Any = SimpleNamespace(jobs=JobStore(database), resources=ResourceStore(database))

    def ask(**members: Any) -> tuple[list[str], str | None]:
        answer = dict(OPERATIONS[operation](backend, members))
        token = answer.pop("NextToken")
        (summaries,) = answer.values()
        return [each.get("AutoMLJobName") or each["EndpointName"] for each in summaries], token

    return ask, found


def expected(found: list[Entry], sort_by: str, order: str, filters: dict[str, Any]) -> list[str]:
    kept = [
        each
        for each in found
        if filters.get("NameContains", "").lower() in each.name.lower()
        and filters.get("StatusEquals") in (None, each.status)
        and filters.get("CreationTimeAfter", 0) < each.created < filters.get("CreationTimeBefore", 1e9)
        and filters.get("LastModifiedTimeAfter", 0) < each.modified < filters.get("LastModifiedTimeBefore", 1e9)
    ]
    attribute = {"Name": "name", "CreationTime": "created", "Status": "status"}[sort_by]
    keyed = [(getattr(each, attribute), each.name) for each in kept]
    keyed.sort(
        key=lambda key: (key[0].lower() if sort_by == "Name" else key[0], key[1].lower()), reverse=order == "Descending"
    )
    return [name for _, name in keyed]


@pytest.mark.parametrize("few", [0, 40, 10**6], ids=["walk", "mixed", "look up"])
def test_pages_put_together_are_the_whole_list(listed: Any, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "_FEW", few)
    ask, found = listed
    for filters, (sort_by, order) in itertools.product(FILTERS, ORDERS):
        request = {**filters, "SortBy": sort_by, "SortOrder": order}
        whole = expected(found, sort_by, order, filters)
        names: list[str] = []
        page, token = ask(MaxResults=90, **request)
        names += page
        while token is not None:
            page, token = ask(MaxResults=90, NextToken=token, **request)
            names += page
        assert names == whole, request


def test_a_new_entry_between_two_pages_does_not_shift_the_list(listed: Any, database: Database) -> None:
    ask, found = listed
    request = {"MaxResults": 100, "SortBy": "Name", "SortOrder": "Ascending"}
    names, token = ask(**request)
    fill = fill_jobs if database.first("SELECT 1 FROM jobs") else fill_endpoints
    fill(database, [Entry(name="aaa", status="Failed", created=9000.0, modified=9000.0)])
    while token is not None:
        page, token = ask(**request, NextToken=token)
        names += page
    assert sorted(names) == sorted(each.name for each in found)


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "",
        "é",
        base64.urlsafe_b64encode(b"[]").decode(),
        base64.urlsafe_b64encode(b"[1,2]").decode(),
        base64.urlsafe_b64encode(b'[{},"a"]').decode(),
        base64.urlsafe_b64encode(json.dumps(["text", "a"]).encode()).decode(),
        base64.urlsafe_b64encode(json.dumps([None, "a"]).encode()).decode(),
        base64.urlsafe_b64encode(json.dumps([1.0, "\ud800"]).encode()).decode(),
    ],
)
def test_a_token_of_another_caller_is_refused(listed: Any, token: str) -> None:
    ask, _ = listed
    with pytest.raises(ServiceError, match="NextToken"):
        ask(SortBy="CreationTime", NextToken=token)


def test_a_token_may_have_a_number_of_any_size(listed: Any) -> None:
    ask, _ = listed
    token = base64.urlsafe_b64encode(json.dumps([10**400, "a"]).encode()).decode()
    assert ask(SortBy="CreationTime", SortOrder="Ascending", NextToken=token)[0] == []


def test_a_page_reads_rows_of_an_index_and_no_others(database: Database) -> None:
    fill_jobs(database, entries())
    plans: list[str] = []
    run = database.all

    def explained(statement: str, parameters: Any = ()) -> Any:
        plans.extend(row["detail"] for row in run(f"EXPLAIN QUERY PLAN {statement}", parameters))
        return run(statement, parameters)

    database.all = explained  # type: ignore[method-assign]
    backend: Any = SimpleNamespace(jobs=JobStore(database))
    for filters, (sort_by, order) in itertools.product(FILTERS, ORDERS):
        plans.clear()
        OPERATIONS["ListAutoMLJobs"](backend, {**filters, "SortBy": sort_by, "SortOrder": order})
        assert "SCAN jobs" not in plans
        if not any(plan.startswith("SEARCH jobs USING INTEGER PRIMARY KEY") for plan in plans):
            # Walked in the order of the list: nothing is sorted.
            assert not [plan for plan in plans if "TEMP B-TREE" in plan], (filters, sort_by, plans)


def test_a_name_part_that_no_name_has_is_found_missing_without_a_walk(database: Database) -> None:
    backend: Any = SimpleNamespace(jobs=JobStore(database))

    def steps_of_a_page(part: str, order: str) -> int:
        steps: list[int] = []
        database._connection.set_progress_handler(lambda: steps.append(1), 10)
        answer = OPERATIONS["ListAutoMLJobs"](backend, {"NameContains": part, "SortBy": order})
        database._connection.set_progress_handler(None, 10)
        assert answer["AutoMLJobSummaries"] == []
        return len(steps)

    found = entries(6000)
    asked = [*itertools.product(("j", "Jk", "jkl"), ("Name", "CreationTime", "Status"))]
    fill_jobs(database, found[:3000])
    of_a_short_list = [steps_of_a_page(*each) for each in asked]
    fill_jobs(database, found[3000:])
    for each, before in zip(asked, of_a_short_list, strict=True):
        assert steps_of_a_page(*each) <= before + 2, each


def test_an_index_of_an_earlier_release_is_made_again(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")
    fill_jobs(database, [Entry(name="churn-xy", status="Failed", created=1.0, modified=1.0)])
    database.execute("DROP INDEX jobs_by_status")
    database.execute("CREATE INDEX jobs_by_status ON jobs (status)")
    database.execute("DROP TABLE jobs_trigrams")
    database.close()
    database = Database(tmp_path / "state.db")
    backend: Any = SimpleNamespace(jobs=JobStore(database))
    for part in ("xy", "y", "rn-x"):
        answer = OPERATIONS["ListAutoMLJobs"](backend, {"NameContains": part, "StatusEquals": "Failed"})
        assert [each["AutoMLJobName"] for each in answer["AutoMLJobSummaries"]] == ["churn-xy"]
    made = database.one("SELECT sql FROM sqlite_master WHERE name = 'jobs_by_status'")["sql"]
    assert "created" in made
    database.close()


def test_candidates_come_in_pages_and_those_without_an_objective_last(database: Database) -> None:
    jobs = JobStore(database)
    jobs.add("churn", "arn:churn", "V2", {})
    values = [0.5, None, 0.7, 0.5, None, 0.1]
    for number, value in enumerate(values):
        document: dict[str, Any] = {"CandidateName": f"c{number}", "CandidateStatus": "Completed", "CreationTime": 9.0}
        if value is not None:
            document["FinalAutoMLJobObjectiveMetric"] = {"MetricName": "AUC", "Value": value}
        jobs.put_candidate("churn", document, {}, 1)
    backend: Any = SimpleNamespace(jobs=jobs)

    def names(size: int, **members: Any) -> list[str]:
        found, token = [], None
        while True:
            more = {} if token is None else {"NextToken": token}
            request = {"AutoMLJobName": "churn", "MaxResults": size, **members, **more}
            answer = OPERATIONS["ListCandidatesForAutoMLJob"](backend, request)
            found += [each["CandidateName"] for each in answer["Candidates"]]
            token = answer["NextToken"]
            if token is None:
                return found

    for size in (1, 2, 5, 6, 300):
        by_value = {"SortBy": "FinalObjectiveMetricValue"}
        assert names(size, **by_value) == ["c5", "c0", "c3", "c2", "c1", "c4"]
        assert names(size, SortOrder="Descending", **by_value) == ["c2", "c3", "c0", "c5", "c4", "c1"]
        assert names(size) == ["c0", "c1", "c2", "c3", "c4", "c5"]
        assert names(size, CandidateNameEquals="c3") == ["c3"]
        assert names(size, StatusEquals="Failed") == []


def test_model_packages_are_listed_by_group_type_and_approval(database: Database) -> None:
    resources = ResourceStore(database)
    backend: Any = SimpleNamespace(
        jobs=JobStore(database), resources=resources, arn=lambda kind, name: f"arn:aws:sagemaker:r:1:{kind}/{name}"
    )
    OPERATIONS["CreateModelPackageGroup"](backend, {"ModelPackageGroupName": "g"})
    for approval in ("Approved", "Rejected", "Approved"):
        OPERATIONS["CreateModelPackage"](backend, {"ModelPackageGroupName": "g", "ModelApprovalStatus": approval})
    alone = {"ModelPackageName": "alone", "ClientToken": "t"}
    assert OPERATIONS["CreateModelPackage"](backend, alone) == OPERATIONS["CreateModelPackage"](backend, alone)

    def listed(**members: Any) -> int:
        return len(OPERATIONS["ListModelPackages"](backend, members)["ModelPackageSummaryList"])

    assert listed() == 1
    assert listed(ModelPackageGroupName="g") == 3
    assert listed(ModelPackageType="Both") == 4
    found = OPERATIONS["ListModelPackages"](backend, {"ModelPackageGroupName": "g"})["ModelPackageSummaryList"]
    assert [package["ModelPackageVersion"] for package in found] == [1, 2, 3], "the oldest first, as AWS lists them"
    assert listed(ModelPackageType="Versioned", ModelApprovalStatus="Approved") == 2
    assert listed(ModelPackageGroupName="g", ModelApprovalStatus="Rejected") == 1
    resources.update("model-package", "g/2", ModelApprovalStatus="Approved")
    assert listed(ModelPackageGroupName="g", ModelApprovalStatus="Approved") == 3
    with pytest.raises(ServiceError, match="still has model packages"):
        OPERATIONS["DeleteModelPackageGroup"](backend, {"ModelPackageGroupName": "g"})


def test_a_deleted_resource_leaves_the_lists_and_its_name_can_be_used_again(database: Database) -> None:
    resources = ResourceStore(database)
    backend: Any = SimpleNamespace(resources=resources)
    for _ in range(2):
        resources.add("model", "churn", "arn:churn", {}, taken=ServiceError("x", "taken"))
        answer = OPERATIONS["ListModels"](backend, {"NameContains": "hur"})
        assert [each["ModelName"] for each in answer["Models"]] == ["churn"]
        resources.remove("model", "churn")
        assert OPERATIONS["ListModels"](backend, {"NameContains": "hur"})["Models"] == []


def test_tags_come_in_pages(database: Database) -> None:
    resources = ResourceStore(database)
    resources.add("model", "m", "arn:m", {}, taken=ServiceError("x", "taken"))
    resources.add_tags("arn:m", [{"Key": key, "Value": "v"} for key in "dacb"])
    backend: Any = SimpleNamespace(resources=resources)
    first = OPERATIONS["ListTags"](backend, {"ResourceArn": "arn:m", "MaxResults": 3})
    assert [tag["Key"] for tag in first["Tags"]] == ["a", "b", "c"]
    rest = OPERATIONS["ListTags"](backend, {"ResourceArn": "arn:m", "NextToken": first["NextToken"]})
    assert ([tag["Key"] for tag in rest["Tags"]], rest["NextToken"]) == (["d"], None)
