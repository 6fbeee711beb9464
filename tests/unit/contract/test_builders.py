import inspect
import re
from datetime import timedelta
from typing import Any

import pytest

from airflow_automl.contract import builders
from airflow_automl.contract.builders import (
    augmented_manifest,
    channel,
    completion_criteria,
    compute,
    deployment,
    image_classification,
    job_v1,
    job_v2,
    manifest,
    output,
    security,
    split,
    tabular,
    tags,
    text_classification,
    text_generation,
    time_series,
    validation,
)
from airflow_automl.contract.builders.jobs import JobOptions, JobV2Options
from airflow_automl.contract.builders.problems import ProblemOptions, TrainingOptions
from airflow_automl.contract.checking import check
from airflow_automl.contract.model import create_shape, fields
from airflow_automl.exceptions import AutoMLValidationError
from tests.unit.contract.samples import ROLE

EMR_ROLE = "arn:aws:iam::123456789012:role/Emr"
JOB = {"name": "job", "output": "s3://bucket/out/", "role": ROLE}
EVERYTHING = {
    **JOB,
    "output": output("s3://bucket/out/", kms_key_id="alias/out"),
    "security": security(
        volume_kms_key_id="alias/disk",
        encrypt_inter_container_traffic=True,
        security_group_ids=["sg-0123abcd"],
        subnets=["subnet-1", "subnet-2"],
    ),
    "deployment": deployment("endpoint", auto_generate_endpoint_name=False),
    "tags": {"team": "growth"},
}
LIMITS = {
    "max_candidates": 1,
    "max_runtime_per_training_job": timedelta(minutes=30),
    "max_runtime": timedelta(hours=2),
}
# Together, these requests have every field of both operations.
FULL_V1 = job_v1(
    channel("s3://bucket/train/", channel_type="training", compression="None"),
    validation="s3://bucket/valid/",
    target="y",
    sample_weight="w",
    content_type="text/csv;header=present",
    problem_type="Regression",
    objective="MSE",
    mode="ENSEMBLING",
    algorithms=["xgboost", "catboost"],
    feature_specification="s3://bucket/spec.json",
    generate_candidate_definitions_only=False,
    split=split(0.3),
    **LIMITS,
    **EVERYTHING,
)
FULL_V2 = [
    tabular(
        "s3://bucket/train/",
        validation=manifest("s3://bucket/valid.manifest"),
        target="y",
        sample_weight="w",
        content_type="text/csv;header=present",
        compression="None",
        problem_type="Regression",
        objective="MSE",
        mode="ENSEMBLING",
        algorithms=["xgboost"],
        feature_specification="s3://bucket/spec.json",
        generate_candidate_definitions_only=False,
        split=0.3,
        compute=compute(EMR_ROLE),
        **LIMITS,
        **EVERYTHING,
    ),
    time_series(
        "s3://bucket/train/",
        target="demand",
        timestamp="day",
        item_id="item",
        grouping=["store"],
        horizon=7,
        frequency="1D",
        quantiles=["p10", "p90"],
        filling={"demand": {"frontfill": "none", "backfill": "value", "backfill_value": "0"}},
        aggregation={"demand": "avg"},
        holidays="US",
        algorithms=["ets"],
        feature_specification="s3://bucket/spec.json",
        **LIMITS,
        **JOB,
    ),
    text_classification("s3://bucket/train/", content="review", label="stars", **LIMITS, **JOB),
    image_classification(augmented_manifest("s3://bucket/x.manifest"), content_type="image/png", **LIMITS, **JOB),
    text_generation(
        "s3://bucket/train/",
        base_model="Llama2-7B",
        epoch_count=3,
        batch_size=8,
        learning_rate=1e-5,
        learning_rate_warmup_steps=0,
        accept_eula=True,
        **LIMITS,
        **JOB,
    ),
]


def paths(value, path=""):
    """The paths of a request as the model lists them."""
    if isinstance(value, dict):
        mapped = path.endswith((".Filling", "HyperParameters", ".Aggregation")) or ".Filling{}" in path
        for key, item in value.items():
            name = f"{path}{{}}" if mapped else f"{path}.{key}" if path else key
            if mapped:
                yield f"{path}{{key}}"
            yield name
            yield from paths(item, name)
    elif isinstance(value, list):
        for item in value:
            yield f"{path}[]"
            yield from paths(item, f"{path}[]")


class TestEveryFieldCanBeSaid:
    def test_of_v1(self):
        assert {field.path for field in fields(create_shape("V1"))} <= set(paths(FULL_V1))

    def test_of_v2(self):
        said = {path for request in FULL_V2 for path in paths(request)}
        assert {field.path for field in fields(create_shape("V2"))} <= said

    def test_full_requests_of_the_builders_are_valid(self):
        assert [found for found in check("V1", FULL_V1) if found.severity == "error"] == []
        for request in FULL_V2:
            assert [found for found in check("V2", request) if found.severity == "error"] == []


class TestTabular:
    def test_the_builder_call_of_the_readme(self):
        assert tabular(
            "s3://acme-ml/churn/train/",
            target="churn",
            problem_type="BinaryClassification",
            objective="AUC",
            mode="ENSEMBLING",
            max_runtime=timedelta(hours=2),
        ) == {
            "AutoMLJobInputDataConfig": [
                {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://acme-ml/churn/train/"}}}
            ],
            "AutoMLProblemTypeConfig": {
                "TabularJobConfig": {
                    "CompletionCriteria": {"MaxAutoMLJobRuntimeInSeconds": 7200},
                    "Mode": "ENSEMBLING",
                    "ProblemType": "BinaryClassification",
                    "TargetAttributeName": "churn",
                }
            },
            "AutoMLJobObjective": {"MetricName": "AUC"},
        }

    def test_omitted_arguments_are_absent(self):
        assert tabular(target="y") == {"TabularJobConfig": {"TargetAttributeName": "y"}}

    def test_false_and_zero_are_given(self):
        config = tabular(target="y", generate_candidate_definitions_only=False, max_candidates=0)["TabularJobConfig"]
        assert config["GenerateCandidateDefinitionsOnly"] is False
        assert config["CompletionCriteria"] == {"MaxCandidates": 0}

    def test_no_algorithms_differ_from_all_left_open(self):
        generation = tabular(target="y", algorithms=[])["TabularJobConfig"]["CandidateGenerationConfig"]
        assert generation == {"AlgorithmsConfig": [{"AutoMLAlgorithms": []}]}

    def test_without_inputs_the_jobs_own_matters_are_refused(self):
        with pytest.raises(AutoMLValidationError) as caught:
            tabular(target="y", objective="AUC", name="churn", validation="s3://b/v")
        assert [line.split()[0] for line in caught.value.violations] == ["objective", "name", "validation"]


class TestJobV2:
    def test_a_problem_and_inputs_make_a_request(self):
        problem = text_classification(content="review", label="stars")
        assert job_v2("s3://b/t", problem, objective="Accuracy", **JOB) == text_classification(
            "s3://b/t", content="review", label="stars", objective="Accuracy", **JOB
        )

    def test_channels_may_be_listed(self):
        request = job_v2(["s3://b/t", validation("s3://b/v")], image_classification(), content_type="image/png")
        assert request["AutoMLJobInputDataConfig"] == [
            channel("s3://b/t", content_type="image/png"),
            channel("s3://b/v", content_type="image/png", channel_type="validation"),
        ]


class TestJobV1:
    def test_columns_go_to_every_channel_that_names_none(self):
        request = job_v1(channel("s3://b/t", target="own"), validation="s3://b/v", target="y", sample_weight="w")
        assert [entry["TargetAttributeName"] for entry in request["InputDataConfig"]] == ["own", "y"]
        assert [entry["SampleWeightAttributeName"] for entry in request["InputDataConfig"]] == ["w", "w"]

    def test_the_least(self):
        assert job_v1("s3://b/t", target="y") == {"InputDataConfig": [channel("s3://b/t", target="y")]}


class TestParts:
    @pytest.mark.parametrize(
        ("duration", "seconds"),
        [
            (timedelta(hours=1), 3600),
            (timedelta(milliseconds=1), 1),
            (timedelta(seconds=1.2), 2),
            (60, 60),
            ("{{ params.limit }}", "{{ params.limit }}"),
        ],
    )
    def test_durations(self, duration, seconds):
        assert completion_criteria(max_runtime=duration, max_runtime_per_training_job=duration) == {
            "MaxRuntimePerTrainingJobInSeconds": seconds,
            "MaxAutoMLJobRuntimeInSeconds": seconds,
        }

    def test_deployment(self):
        assert deployment() == {"AutoGenerateEndpointName": True}
        assert deployment("churn") == {"EndpointName": "churn"}
        assert deployment("churn", auto_generate_endpoint_name=False) == {
            "AutoGenerateEndpointName": False,
            "EndpointName": "churn",
        }

    def test_security(self):
        assert security() == {}
        assert security(subnets=("a", "b"), security_group_ids=["sg-1"]) == {
            "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["a", "b"]}
        }

    def test_the_small_ones(self):
        assert split() == {}
        assert split(0) == {"ValidationFraction": 0}
        assert compute("role") == {"EmrServerlessComputeConfig": {"ExecutionRoleARN": "role"}}
        assert tags({"a": "1", "b": ""}) == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}]
        assert output("s3://b") == {"S3OutputPath": "s3://b"}

    def test_channels(self):
        assert manifest("s3://b/m")["DataSource"]["S3DataSource"]["S3DataType"] == "ManifestFile"
        assert augmented_manifest("s3://b/m", content_type="image/png") == {
            "DataSource": {"S3DataSource": {"S3DataType": "AugmentedManifestFile", "S3Uri": "s3://b/m"}},
            "ContentType": "image/png",
        }
        assert validation("s3://b/v", compression="Gzip") == {
            **channel("s3://b/v", compression="Gzip"),
            "ChannelType": "validation",
        }
        given = manifest("s3://b/v")
        assert validation(given)["ChannelType"] == "validation"
        assert "ChannelType" not in given

    def test_hyperparameters_become_strings(self):
        config = text_generation(epoch_count=3, learning_rate="{{ params.rate }}")["TextGenerationJobConfig"]
        assert config == {"TextGenerationHyperParameters": {"epochCount": "3", "learningRate": "{{ params.rate }}"}}


def test_references_to_other_tasks_are_passed_through():
    reference = object()
    request = tabular(reference, target=reference, algorithms=reference, max_runtime=reference, output=reference)
    assert request["AutoMLJobInputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] is reference
    config = request["AutoMLProblemTypeConfig"]["TabularJobConfig"]
    assert config["TargetAttributeName"] is reference
    assert config["CandidateGenerationConfig"]["AlgorithmsConfig"] == [{"AutoMLAlgorithms": reference}]
    assert config["CompletionCriteria"]["MaxAutoMLJobRuntimeInSeconds"] is reference
    assert request["OutputDataConfig"] == {"S3OutputPath": reference}


@pytest.mark.parametrize("name", builders.__all__)
def test_every_parameter_is_typed_and_described(name):
    builder = getattr(builders, name)
    documented = set(re.findall(r":param (\w+):", builder.__doc__))
    signature = inspect.signature(builder)
    assert documented == set(signature.parameters)
    assert all(parameter.annotation is not inspect.Parameter.empty for parameter in signature.parameters.values())
    assert signature.return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize(
    ("options", "base"),
    [
        (JobOptions, None),
        (JobV2Options, JobOptions),
        (TrainingOptions, JobV2Options),
        (ProblemOptions, TrainingOptions),
    ],
)
def test_every_option_is_described(options, base):
    own = options.__annotations__.keys() - (set() if base is None else base.__annotations__)
    assert set(re.findall(r":ivar (\w+):", options.__doc__)) == own


@pytest.mark.parametrize("name", sorted(set(builders.__all__)))
def test_every_builder_refuses_a_parameter_that_it_does_not_have(name: str) -> None:
    with pytest.raises(TypeError, match=rf"{name}\(\): zzz is unknown; valid are "):
        getattr(builders, name)(zzz=1)


@pytest.mark.parametrize(
    ("build", "advice"),
    [
        (
            lambda: tabular("s3://b/x/", target="y", max_run_time=300),
            "max_run_time is unknown; did you mean max_ru",
        ),
        (
            lambda: tabular("s3://b/x/", target="y", kms_key="k"),
            "did you mean kms_key_id of output",
        ),
        (lambda: tabular(target="y", objectiv="AUC"), "objectiv is unknown; did you mean objective"),
        (lambda: job_v1("s3://b/x/", target="y", maxRuntime=1), "did you mean max_runtime"),
        (lambda: manifest("s3://b/m", contentType="text/csv"), "did you mean content_type"),
        (lambda: deployment(auto_generate=True), "did you mean auto_generate_endpoint_name"),
        (lambda: text_generation("s3://b/x/", epochs=3), "did you mean epoch_count"),
    ],
)
def test_a_misspelt_parameter_is_answered_with_the_closest_ones(build: Any, advice: str) -> None:
    with pytest.raises(TypeError, match=advice):
        build()


def test_all_misspelt_parameters_are_named_at_once() -> None:
    with pytest.raises(TypeError, match=r"max_run_time.*kms_key"):
        tabular("s3://b/x/", target="y", max_run_time=300, kms_key="k")
