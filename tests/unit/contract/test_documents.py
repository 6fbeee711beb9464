import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_automl.contract.documents import (
    JobDocument,
    api_version,
    best_candidate,
    job,
    json_safe,
    problem_type,
    schema,
)
from airflow_automl.contract.model import output_shape, shapes
from airflow_automl.contract.states import JobStatus
from tests.unit.contract.strategies import SETTINGS

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

V2 = {
    "AutoMLJobName": "churn",
    "AutoMLJobArn": "arn:aws:sagemaker:eu-west-1:123456789012:automl-job/churn",
    "AutoMLJobInputDataConfig": [],
    "OutputDataConfig": {"S3OutputPath": "s3://b/out/", "KmsKeyId": "key"},
    "RoleArn": "arn:aws:iam::123456789012:role/AutoML",
    "AutoMLProblemTypeConfig": {"TabularJobConfig": {"TargetAttributeName": "y"}},
    "AutoMLProblemTypeConfigName": "Tabular",
    "CreationTime": CREATED,
    "EndTime": CREATED + timedelta(hours=1),
    "LastModifiedTime": CREATED,
    "PartialFailureReasons": [{"PartialFailureMessage": "no report"}, {}, None],
    "BestCandidate": {
        "CandidateName": "best",
        "FinalAutoMLJobObjectiveMetric": {"MetricName": "AUC", "Value": 0.9},
        "CreationTime": CREATED,
        "InferenceContainers": [{"Image": "image", "ModelDataUrl": "s3://b/model.tar.gz", "Environment": {"A": "1"}}],
    },
    "AutoMLJobStatus": "Completed",
    "AutoMLJobSecondaryStatus": "ExplainabilityError",
    "AutoMLJobArtifacts": {"DataExplorationNotebookLocation": "s3://b/x.ipynb"},
    "ResolvedAttributes": {
        "AutoMLJobObjective": {"MetricName": "AUC"},
        "AutoMLProblemTypeResolvedAttributes": {"TabularResolvedAttributes": {"ProblemType": "BinaryClassification"}},
    },
    "ModelDeployResult": {"EndpointName": "churn-endpoint"},
    "SecurityConfig": {"VpcConfig": {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}},
    "ResponseMetadata": {"RequestId": "x"},
}
V1 = {
    "AutoMLJobName": "old",
    "InputDataConfig": [],
    "ProblemType": "Regression",
    "AutoMLJobObjective": {"MetricName": "MSE"},
    "AutoMLJobConfig": {"SecurityConfig": {"VolumeKmsKeyId": "key"}},
    "AutoMLJobStatus": "InProgress",
    "AutoMLJobSecondaryStatus": "Starting",
    "CreationTime": 1767323045.0,
}
# Members that real answers lack, rename or send as null.
ODD = [
    {},
    {"BestCandidate": None},
    {"BestCandidate": {}},
    {"BestCandidate": "best"},
    {"PartialFailureReasons": None, "ModelDeployResult": None, "AutoMLJobArtifacts": None, "ResolvedAttributes": None},
    {"AutoMLProblemTypeConfig": None, "OutputDataConfig": [], "SecurityConfig": "x", "RoleArn": 7},
    {"AutoMLJobName": None, "CreationTime": "2026-01-02T03:04:05Z", "EndTime": 1e300},
    {"AutoMLJobConfig": None, "CreationTime": True},
]


def answers(shape_name):
    """Random describe answers: any subset of the members, with values of about the right type."""
    shape = shapes()[shape_name]
    match shape["type"]:
        case "structure":
            members = {name: st.deferred(lambda m=m: answers(m["shape"])) for name, m in shape["members"].items()}
            return st.none() | st.fixed_dictionaries({}, optional=members)
        case "list":
            return st.lists(st.deferred(lambda: answers(shape["member"]["shape"])), max_size=2)
        case "map":
            return st.dictionaries(st.text(max_size=5), answers(shape["value"]["shape"]), max_size=2)
        case "timestamp":
            return st.datetimes(timezones=st.just(UTC)) | st.floats() | st.integers()
        case "float":
            return st.floats() | st.decimals()
        case "integer":
            return st.integers()
        case "boolean":
            return st.booleans()
    return st.text(max_size=5) | st.sampled_from(shape.get("enum", ["x"]))


class TestBestCandidate:
    def test_keys_are_awss_and_times_iso_strings(self):
        assert best_candidate(V2) == V2["BestCandidate"] | {"CreationTime": "2026-01-02T03:04:05+00:00"}

    def test_times_as_on_the_wire_become_iso_strings_too(self):
        assert best_candidate({"BestCandidate": {"CreationTime": 0}}) == {"CreationTime": "1970-01-01T00:00:00+00:00"}

    def test_unknown_members_are_kept(self):
        assert best_candidate({"BestCandidate": {"Novelty": {"At": CREATED}}}) == {
            "Novelty": {"At": "2026-01-02T03:04:05+00:00"}
        }

    @pytest.mark.parametrize("answer", ODD)
    def test_there_may_be_none(self, answer):
        assert best_candidate(answer) is None


class TestJob:
    def test_it_has_exactly_its_keys(self):
        for answer in (V1, V2, *ODD):
            assert set(job(answer)) == set(JobDocument.__annotations__) == set(schema("job")["properties"])

    def test_of_a_v2_answer(self):
        assert job(V2, tags=[{"Key": "team", "Value": "growth"}]) == {
            "schema_version": 1,
            "name": "churn",
            "arn": "arn:aws:sagemaker:eu-west-1:123456789012:automl-job/churn",
            "api_version": "V2",
            "problem_type": "BinaryClassification",
            "status": "Completed",
            "secondary_status": "ExplainabilityError",
            "end": {"title": "Completed with warnings", "tone": "warning"},
            "objective": "AUC",
            "score": 0.9,
            "target": "y",
            "data": None,
            "created": "2026-01-02T03:04:05+00:00",
            "ended": "2026-01-02T04:04:05+00:00",
            "role_arn": "arn:aws:iam::123456789012:role/AutoML",
            "security": {"VpcConfig": {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}},
            "output": {"S3OutputPath": "s3://b/out/", "KmsKeyId": "key"},
            "tags": {"team": "growth"},
            "artifacts": {"DataExplorationNotebookLocation": "s3://b/x.ipynb"},
            "endpoint_name": "churn-endpoint",
            "partial_failures": ["no report"],
            "timeline": [],
            "cost": None,
        }

    def test_of_a_v1_answer(self):
        document = job(V1, arn="arn:1", tags={"team": "growth"})
        assert document["api_version"] == "V1"
        assert document["arn"] == "arn:1"
        assert document["problem_type"] == "Regression"
        assert document["objective"] == "MSE"
        assert document["security"] == {"VolumeKmsKeyId": "key"}
        assert document["tags"] == {"team": "growth"}
        assert document["created"] == "2026-01-02T03:04:05+00:00"
        assert document["ended"] is None

    def test_the_objective_is_that_of_the_best_candidate_if_nothing_else_has_it(self):
        answer = {"BestCandidate": {"FinalAutoMLJobObjectiveMetric": {"MetricName": "validation:f1", "Value": 1}}}
        assert job(answer)["objective"] == "F1"

    @pytest.mark.parametrize("answer", ODD)
    def test_odd_answers_are_borne(self, answer):
        document = job(answer)
        jsonschema.validate(document, schema("job"))
        assert json.loads(json.dumps(document, allow_nan=False)) == document


class TestProblemType:
    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (V2, "BinaryClassification"),
            (V1, "Regression"),
            ({"InputDataConfig": []}, "Tabular"),
            ({"InputDataConfig": [], "ResolvedAttributes": {"ProblemType": "Regression"}}, "Regression"),
            ({"AutoMLProblemTypeConfig": {"TabularJobConfig": {}}}, "Tabular"),
            ({"AutoMLProblemTypeConfig": {"TabularJobConfig": {"ProblemType": "Regression"}}}, "Regression"),
            ({"AutoMLProblemTypeConfig": {"TextGenerationJobConfig": {}}}, "TextGeneration"),
            ({"AutoMLProblemTypeConfig": {"TimeSeriesForecastingJobConfig": {}}}, "TimeSeriesForecasting"),
            ({"AutoMLProblemTypeConfigName": "ImageClassification"}, "ImageClassification"),
            ({"AutoMLProblemTypeConfig": {"SDK_UNKNOWN_MEMBER": {"name": "AudioJobConfig"}}}, "Audio"),
            ({"AutoMLProblemTypeConfig": {}}, None),
            ({}, None),
        ],
    )
    def test_as_exactly_as_the_answer_allows(self, answer, expected):
        assert problem_type(answer) == expected

    def test_versions(self):
        assert api_version(V1) == "V1"
        assert api_version(V2) == "V2"
        assert api_version({}) == "V2"


class TestJsonSafe:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1))), "2026-01-01T00:00:00+01:00"),
            (date(2026, 1, 1), "2026-01-01"),
            (Decimal("0.5"), 0.5),
            (Decimal("NaN"), None),
            (Decimal("sNaN"), None),
            (Decimal("1e999"), None),
            (float("nan"), None),
            (float("-inf"), None),
            (JobStatus.COMPLETED, "Completed"),
            ((1, 2), [1, 2]),
            ({"b", "a"}, ["a", "b"]),
            (b"\x00\x01", "AAE="),
            ({1: None}, {"1": None}),
            (True, True),
            (timedelta(seconds=1), "0:00:01"),
        ],
    )
    def test_values(self, value, expected):
        assert json_safe(value) == expected
        assert type(json_safe(value)) is type(expected)

    def test_the_answers_metadata_is_left_out(self):
        assert json_safe({"ResponseMetadata": {}, "a": 1}) == {"a": 1}


@pytest.mark.parametrize("operation", ["DescribeAutoMLJob", "DescribeAutoMLJobV2"])
@SETTINGS
@given(data=st.data())
def test_documents_go_through_json_unchanged_and_keep_to_their_schemas(operation, data):
    answer = data.draw(answers(output_shape(operation))) or {}
    for name, document in (("best_candidate", best_candidate(answer)), ("job", job(answer))):
        assert json.loads(json.dumps(document, allow_nan=False)) == document
        if name == "job":
            jsonschema.validate(document, schema("job"))


def test_a_refusal_keeps_to_the_schema_of_the_job():
    refusal = {"schema_version": 1, "name": None, "reason": "no", "violations": ["Mode: unknown"]}
    jsonschema.validate(refusal, schema("job"))
    refused = [{key: value for key, value in refusal.items() if key != left_out} for left_out in refusal]
    unfinished = {key: value for key, value in job(V2).items() if key != "arn"}
    for document in (*refused, unfinished, {**refusal, "name": "churn"}, {**refusal, "violations": "Mode: unknown"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document, schema("job"))


def test_the_best_candidate_keeps_to_its_schema():
    jsonschema.validate(best_candidate(V2), schema("best_candidate"))
    jsonschema.validate(None, schema("best_candidate"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"CandidateName": 7}, schema("best_candidate"))
