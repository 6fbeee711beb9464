"""``check`` and the embedded service agree on every request, and describe answers repeat the request."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_automl.contract import check
from airflow_automl.contract.model import fields, output_shape
from airflow_automl.contract.violations import errors
from tests.wire.autopilot import Autopilot
from tests.wire.client import Wire
from tests.wire.mutations import Mutation, mutate
from tests.wire.samples import PROBLEMS, valid_request

EXAMPLES = json.loads((Path(__file__).parents[1] / "data" / "contract" / "examples.json").read_text())
CREATE = {"V1": "CreateAutoMLJob", "V2": "CreateAutoMLJobV2"}
DESCRIBE = {"V1": "DescribeAutoMLJob", "V2": "DescribeAutoMLJobV2"}
EVERY_KIND = [("V1", "TabularJobConfig"), *(("V2", problem) for problem in PROBLEMS)]

#: Members of describe answers that appear while a job runs.
_LATER = (
    "EndTime",
    "FailureReason",
    "PartialFailureReasons",
    "BestCandidate",
    "AutoMLJobArtifacts",
    "ResolvedAttributes",
    "ModelDeployResult",
)

_serial = itertools.count()


def fresh_name() -> str:
    return f"agree-{next(_serial)}"


@pytest.fixture(scope="module")
def kept_wire(idle_autopilot: Autopilot) -> Iterator[Wire]:
    """One connection for a whole module: hypothesis does not renew fixtures between its examples."""
    with Wire(idle_autopilot.url) as wire:
        yield wire


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["id"])
def test_every_sample_gets_the_same_verdict(wire: Wire, example: dict[str, Any]) -> None:
    api, request = example["api"], example["request"]
    expected = errors(check(api, request))

    answer = wire.call(CREATE[api], request)

    if example["expect"] == "accept":
        assert expected == []
        assert answer.status == 200, answer.message
        described = wire.call(DESCRIBE[api], {"AutoMLJobName": request["AutoMLJobName"]}).json
        assert {name: described.get(name) for name in request if name != "Tags"} == {
            name: value for name, value in request.items() if name != "Tags"
        }
        assert described["AutoMLJobArn"] == answer.json["AutoMLJobArn"]
    else:
        assert answer.status == 400
        assert answer.code in {"ValidationException", "SerializationException"}
        assert example["field"] in {violation.path for violation in expected}
        assert answer.message.endswith("; ".join(str(violation) for violation in expected))


def test_wrong_json_types_are_malformed_bodies_and_wrong_values_are_not(wire: Wire) -> None:
    request = valid_request(Random(1), "V2", fresh_name(), "TabularJobConfig")

    mistyped = wire.call("CreateAutoMLJobV2", {**request, "RoleArn": 17})
    wrong = wire.call("CreateAutoMLJobV2", {**request, "RoleArn": "arn:nobody"})

    assert (mistyped.status, mistyped.code) == (400, "SerializationException")
    assert (wrong.status, wrong.code) == (400, "ValidationException")
    assert "RoleArn: received an integer (17)" in mistyped.message
    assert "RoleArn: received 'arn:nobody'" in wrong.message


@pytest.mark.parametrize(("api", "problem"), EVERY_KIND)
def test_a_request_with_every_field_is_described_with_every_field(wire: Wire, api: Any, problem: str) -> None:
    request = valid_request(Random(7), api, fresh_name(), problem, fullness=1)
    assert errors(check(api, request)) == []
    created = wire.call(CREATE[api], request)
    assert created.status == 200, created.message

    described = wire.call(DESCRIBE[api], {"AutoMLJobName": request["AutoMLJobName"]}).json

    for name, value in request.items():
        if name != "Tags":
            assert described[name] == value
    assert "Tags" not in described
    named = set(generic_paths(described))
    expected = {
        path
        for path in (field.path for field in fields(str(output_shape(DESCRIBE[api]))))
        if not path.startswith(_LATER) and not path.endswith("{key}") and _possible(path, problem)
    }
    assert expected - named == set()
    known = {field.path for field in fields(str(output_shape(DESCRIBE[api])))}
    assert {path for path in named if not path.endswith("[]")} - known == set()
    if api == "V2":
        assert described["AutoMLProblemTypeConfigName"] == PROBLEMS[problem]


def _possible(path: str, problem: str) -> bool:
    """Whether a job of this problem can have the field, by the rules that exclude fields."""
    if path.startswith("AutoMLProblemTypeConfig."):
        return path.split(".")[1] == problem
    if path.startswith("AutoMLComputeConfig.Emr"):
        return problem in ("TabularJobConfig", "TimeSeriesForecastingJobConfig")
    if path.startswith("DataSplitConfig"):
        return problem != "TimeSeriesForecastingJobConfig"
    if path.startswith("AutoMLJobObjective"):
        return problem != "TextGenerationJobConfig"
    return True


def generic_paths(value: Any, path: str = "", *, of_map: bool = False) -> Iterator[str]:
    """Every path in an answer, list entries as ``[]``, map values as ``{}``."""
    if isinstance(value, dict):
        for name, item in value.items():
            below = f"{path}{{}}" if of_map else f"{path}.{name}" if path else name
            yield below
            maps = name in {"Filling", "Aggregation", "TextGenerationHyperParameters"} or below.endswith("Filling{}")
            yield from generic_paths(item, below, of_map=maps)
    elif isinstance(value, list):
        for item in value:
            yield f"{path}[]"
            yield from generic_paths(item, f"{path}[]")


@pytest.mark.parametrize(("api", "problem"), EVERY_KIND)
def test_a_minimal_request_is_described_without_invented_members(wire: Wire, api: Any, problem: str) -> None:
    request = valid_request(Random(3), api, fresh_name(), problem, fullness=0)
    created = wire.call(CREATE[api], request)
    assert created.status == 200, created.message

    described = wire.call(DESCRIBE[api], {"AutoMLJobName": request["AutoMLJobName"]}).json

    assert described.pop("AutoMLJobArn") == created.json["AutoMLJobArn"]
    times = [described.pop("CreationTime"), described.pop("LastModifiedTime")]
    assert all(isinstance(time, int | float) and not isinstance(time, bool) for time in times)  # R8
    statuses = {"AutoMLJobStatus": "InProgress", "AutoMLJobSecondaryStatus": "Starting"}
    of_version = (
        {"GenerateCandidateDefinitionsOnly": False}
        if api == "V1"
        else {"AutoMLProblemTypeConfigName": PROBLEMS[problem]}
    )
    assert described == {**request, **statuses, **of_version}  # R100, R101


def test_a_v1_job_is_described_by_v2_in_its_own_form(wire: Wire) -> None:
    request = valid_request(Random(7), "V1", fresh_name(), fullness=1)
    assert wire.call("CreateAutoMLJob", request).status == 200

    described = wire.call("DescribeAutoMLJobV2", {"AutoMLJobName": request["AutoMLJobName"]}).json

    config = request["AutoMLJobConfig"]
    columns = ("TargetAttributeName", "SampleWeightAttributeName")
    assert described["AutoMLJobInputDataConfig"] == [
        {name: value for name, value in channel.items() if name not in columns}
        for channel in request["InputDataConfig"]
    ]
    assert described["SecurityConfig"] == config["SecurityConfig"]
    assert described["DataSplitConfig"] == config["DataSplitConfig"]
    generation = dict(config["CandidateGenerationConfig"])
    assert described["AutoMLProblemTypeConfig"] == {
        "TabularJobConfig": {
            "TargetAttributeName": request["InputDataConfig"][0]["TargetAttributeName"],
            "SampleWeightAttributeName": request["InputDataConfig"][0]["SampleWeightAttributeName"],
            "ProblemType": request["ProblemType"],
            "GenerateCandidateDefinitionsOnly": request["GenerateCandidateDefinitionsOnly"],
            "CompletionCriteria": config["CompletionCriteria"],
            "Mode": config["Mode"],
            "FeatureSpecificationS3Uri": generation.pop("FeatureSpecificationS3Uri"),
            "CandidateGenerationConfig": generation,
        }
    }
    assert described["AutoMLProblemTypeConfigName"] == "Tabular"
    for same in ("OutputDataConfig", "RoleArn", "AutoMLJobObjective", "ModelDeployConfig"):
        assert described[same] == request[same]
    only_v1 = {"InputDataConfig", "AutoMLJobConfig", "ProblemType", "GenerateCandidateDefinitionsOnly", "Tags"}
    assert not only_v1 & described.keys()


class TestIdentity:
    """R1 to R5."""

    def test_the_arn_names_the_job(self, wire: Wire) -> None:
        name = fresh_name()
        arn = wire.call("CreateAutoMLJobV2", valid_request(Random(0), "V2", name)).json["AutoMLJobArn"]
        assert re.fullmatch(rf"arn:aws:sagemaker:[a-z0-9-]+:\d{{12}}:automl-job/{name}", arn)

    @pytest.mark.parametrize(("first", "second"), itertools.product(["V1", "V2"], repeat=2))
    def test_names_are_unique_whatever_their_case_and_version(self, wire: Wire, first: Any, second: Any) -> None:
        name = fresh_name()
        assert wire.call(CREATE[first], valid_request(Random(0), first, name)).status == 200

        again = wire.call(CREATE[second], valid_request(Random(1), second, name.upper()))

        assert (again.status, again.code) == (400, "ResourceInUse")
        assert name in again.message

    def test_v1_does_not_describe_jobs_of_v2(self, wire: Wire) -> None:
        name = fresh_name()
        wire.call("CreateAutoMLJobV2", valid_request(Random(0), "V2", name, "TabularJobConfig"))

        answer = wire.call("DescribeAutoMLJob", {"AutoMLJobName": name})

        assert (answer.status, answer.code) == (400, "ResourceNotFound")
        assert "DescribeAutoMLJobV2" in answer.message

    @pytest.mark.parametrize(
        "operation", ["DescribeAutoMLJob", "DescribeAutoMLJobV2", "StopAutoMLJob", "ListCandidatesForAutoMLJob"]
    )
    def test_unknown_names_are_not_found_and_malformed_ones_are_invalid(self, wire: Wire, operation: str) -> None:
        unknown = wire.call(operation, {"AutoMLJobName": "nobody"})
        assert (unknown.status, unknown.code) == (400, "ResourceNotFound")
        for request in ({}, {"AutoMLJobName": ""}, {"AutoMLJobName": "a_b"}, {"AutoMLJobName": "a" * 33}):
            malformed = wire.call(operation, request)
            assert (malformed.status, malformed.code) == (400, "ValidationException")
            assert "AutoMLJobName" in malformed.message
        mistyped = wire.call(operation, {"AutoMLJobName": 1})
        assert (mistyped.status, mistyped.code) == (400, "SerializationException")

    def test_tags_are_listed_but_not_described(self, wire: Wire) -> None:
        tags = [{"Key": "team", "Value": "größe / 中"}, {"Key": "Team", "Value": ""}]
        request = {**valid_request(Random(0), "V2", fresh_name()), "Tags": tags}
        arn = wire.call("CreateAutoMLJobV2", request).json["AutoMLJobArn"]

        listed = wire.call("ListTags", {"ResourceArn": arn}).json["Tags"]

        assert sorted(listed, key=lambda tag: tag["Key"]) == sorted(tags, key=lambda tag: tag["Key"])
        assert "Tags" not in wire.call("DescribeAutoMLJobV2", {"AutoMLJobName": request["AutoMLJobName"]}).json


_BOUNDED = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@_BOUNDED
@given(api=st.sampled_from(["V1", "V2"]), random=st.randoms(use_true_random=False))
def test_random_valid_requests_are_accepted_and_described(kept_wire: Wire, api: Any, random: Random) -> None:
    request = valid_request(random, api, fresh_name())
    assert errors(check(api, request)) == []

    answer = kept_wire.call(CREATE[api], request)

    assert answer.status == 200, answer.message
    described = kept_wire.call(DESCRIBE[api], {"AutoMLJobName": request["AutoMLJobName"]}).json
    assert {name: described[name] for name in request if name != "Tags"} == {
        name: value for name, value in request.items() if name != "Tags"
    }


@_BOUNDED
@given(api=st.sampled_from(["V1", "V2"]), random=st.randoms(use_true_random=False))
def test_one_random_mutation_is_rejected_at_its_path(kept_wire: Wire, api: Any, random: Random) -> None:
    mutation: Mutation = mutate(random, api, valid_request(random, api, fresh_name()))

    answer = kept_wire.call(CREATE[api], mutation.request)

    assert answer.status == 400, mutation.what
    assert answer.code == ("SerializationException" if mutation.mistyped else "ValidationException"), mutation.what
    found = errors(check(api, mutation.request))
    assert mutation.path in {violation.path for violation in found}, mutation.what
    assert answer.message.endswith("; ".join(str(violation) for violation in found))
