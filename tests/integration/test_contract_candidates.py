"""ListCandidatesForAutoMLJob (R108), and describe answers of jobs that have ended (R47, R92 to R101), at the wire."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from airflow_automl.contract import states
from airflow_automl.contract.model import output_shape, shapes
from airflow_automl.contract.shapes import check_shape
from tests.service.running import RunningService, ended, request, scripted_service
from tests.wire.client import Wire

VALUES = [70, 90, 60, 80, 90]
SCRIPTS = {
    "many": ",".join(["phases", *(f"candidate-{value}" for value in VALUES), "begin", "completed"]),
    "failed": "phases,candidate-70,failed",
    "no-report": "phases,candidate-70,partial-ExplainabilityError,completed",
    "nothing-deployed": "phases,candidate-70,completed",
    "definitions": "phases,completed-CandidateDefinitionsGenerated",
    "at-limit": "phases,candidate-70,completed-MaxAutoMLJobRuntimeReached",
    "v1": "phases,candidate-70,candidate-90,completed",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with scripted_service(tmp_path_factory.mktemp("candidates") / "service", max_jobs=2) as service:
        client = service.client()
        for name, script in SCRIPTS.items():
            if name == "v1":
                client.create_auto_ml_job(**_v1(request(name, script)))
            else:
                more = {"ModelDeployConfig": {"EndpointName": "x"}} if name == "nothing-deployed" else {}
                client.create_auto_ml_job_v2(**request(name, script, **more))
        client.create_auto_ml_job_v2(**request("stopped", "phases,candidate-70,wait"))
        client.stop_auto_ml_job(AutoMLJobName="stopped")
        for name in [*SCRIPTS, "stopped"]:
            ended(client, name, 90)
        yield service


def _v1(v2: dict[str, Any]) -> dict[str, Any]:
    channel = {**v2["AutoMLJobInputDataConfig"][0], "TargetAttributeName": "y"}
    same = {name: v2[name] for name in ("AutoMLJobName", "OutputDataConfig", "RoleArn")}
    return {**same, "InputDataConfig": [channel]}


@pytest.fixture(scope="module")
def client(service: RunningService) -> Any:
    return service.client()


def listed(client: Any, **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.list_candidates_for_auto_ml_job(AutoMLJobName="many", **more)["Candidates"]
    return found


def names(client: Any, **more: Any) -> list[str]:
    return [candidate["CandidateName"] for candidate in listed(client, **more)]


def value(candidate: dict[str, Any]) -> float | None:
    found: float | None = candidate.get("FinalAutoMLJobObjectiveMetric", {}).get("Value")
    return found


def test_the_default_order_is_that_of_creation(client: Any) -> None:
    times = [candidate["CreationTime"] for candidate in listed(client)]
    assert len(times) == len(VALUES) + 1
    assert times == sorted(times)


def test_every_sort_key_in_both_orders(client: Any) -> None:
    by_creation = names(client, SortBy="CreationTime", SortOrder="Ascending")
    assert names(client, SortBy="CreationTime", SortOrder="Descending") == by_creation[::-1]
    best_first = [value(each) for each in listed(client, SortBy="FinalObjectiveMetricValue", SortOrder="Descending")]
    worst_first = [value(each) for each in listed(client, SortBy="FinalObjectiveMetricValue", SortOrder="Ascending")]
    measured = sorted(each / 100 for each in VALUES)
    # A candidate that never got its metric is the last in either order.
    assert best_first == [*measured[::-1], None]
    assert worst_first == [*measured, None]
    by_status = [each["CandidateStatus"] for each in listed(client, SortBy="Status", SortOrder="Ascending")]
    assert by_status == sorted(by_status)


def test_filters(client: Any) -> None:
    assert len(names(client, StatusEquals="Completed")) == len(VALUES)
    assert names(client, StatusEquals="Stopping") == []
    assert names(client, CandidateNameEquals="many-2") == ["many-2"]
    assert names(client, CandidateNameEquals="many") == []
    assert names(client, CandidateNameEquals="many-2", StatusEquals="Failed") == []


@pytest.mark.parametrize(
    ("size", "order", "sort_by"),
    itertools.product([1, 2, 4, 300], ["Ascending", "Descending"], ["CreationTime", "FinalObjectiveMetricValue"]),
)
def test_all_pages_together_are_the_list(client: Any, size: int, order: str, sort_by: str) -> None:
    paginator = client.get_paginator("list_candidates_for_auto_ml_job")
    pages = list(
        paginator.paginate(AutoMLJobName="many", SortBy=sort_by, SortOrder=order, PaginationConfig={"PageSize": size})
    )
    joined = [candidate["CandidateName"] for page in pages for candidate in page["Candidates"]]
    assert joined == names(client, SortBy=sort_by, SortOrder=order)
    assert len(pages) == -(-(len(VALUES) + 1) // size)


def test_pages_have_at_most_300_candidates(client: Any) -> None:
    with pytest.raises(ClientError, match="MaxResults"):
        listed(client, MaxResults=301)


@pytest.mark.parametrize("name", [*SCRIPTS, "stopped"])
def test_answers_of_ended_jobs_match_the_service_model_and_the_state_table(service: RunningService, name: str) -> None:
    with Wire(service.url) as wire:
        answers = {"DescribeAutoMLJobV2": wire.call("DescribeAutoMLJobV2", {"AutoMLJobName": name}).json}
        if name == "v1":
            answers["DescribeAutoMLJob"] = wire.call("DescribeAutoMLJob", {"AutoMLJobName": name}).json
        candidates = wire.call("ListCandidatesForAutoMLJob", {"AutoMLJobName": name}).json
    assert check_shape(shapes(), str(output_shape("ListCandidatesForAutoMLJob")), candidates) == []
    for operation, answer in answers.items():
        assert check_shape(shapes(), str(output_shape(operation)), answer) == []
        pair = states.PAIRS[answer["AutoMLJobStatus"], answer["AutoMLJobSecondaryStatus"]]
        assert pair.terminal
        assert pair.use is states.Use.EMIT
        assert answer["CreationTime"] <= answer["EndTime"] <= answer["LastModifiedTime"]
        assert ("FailureReason" in answer) == (answer["AutoMLJobStatus"] == "Failed")  # R92
        assert answer.get("PartialFailureReasons") != []  # R93
        if pair.best_candidate is states.Expectation.EXPECTED:
            assert answer["BestCandidate"]["CandidateStatus"] == "Completed"
            assert answer["BestCandidate"]["ObjectiveStatus"] == "Succeeded"
        if pair.best_candidate is states.Expectation.ABSENT:
            assert "BestCandidate" not in answer
        assert "ModelDeployResult" not in answer  # R35: nothing was deployed


def test_the_ends_are_those_of_the_scripts(client: Any) -> None:
    found = {
        name: client.describe_auto_ml_job_v2(AutoMLJobName=name)["AutoMLJobSecondaryStatus"]
        for name in [*SCRIPTS, "stopped"]
    }
    assert found == {
        "many": "Completed",
        "failed": "Failed",
        "no-report": "ExplainabilityError",
        "nothing-deployed": "ModelDeploymentError",
        "definitions": "CandidateDefinitionsGenerated",
        "at-limit": "MaxAutoMLJobRuntimeReached",
        "v1": "Completed",
        "stopped": "Stopped",
    }


def test_resolved_attributes_are_returned_in_the_form_of_either_version(client: Any) -> None:
    v1 = client.describe_auto_ml_job(AutoMLJobName="v1")
    v2 = client.describe_auto_ml_job_v2(AutoMLJobName="v1")
    assert v1["ResolvedAttributes"] == {
        "AutoMLJobObjective": {"MetricName": "AUC"},
        "ProblemType": "BinaryClassification",
        "CompletionCriteria": {"MaxCandidates": 10},
    }
    assert v2["ResolvedAttributes"] == {
        "AutoMLJobObjective": {"MetricName": "AUC"},
        "CompletionCriteria": {"MaxCandidates": 10},
        "AutoMLProblemTypeResolvedAttributes": {"TabularResolvedAttributes": {"ProblemType": "BinaryClassification"}},
    }
    assert v1["BestCandidate"] == v2["BestCandidate"]
    # Only ResolvedAttributes has the resolved values: the configuration stays what was given (R100).
    assert "ProblemType" not in v1
    assert "AutoMLJobObjective" not in v1
    assert v2["AutoMLProblemTypeConfig"] == {"TabularJobConfig": {"TargetAttributeName": "y"}}
