import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_automl.contract.checking import check
from airflow_automl.contract.migration import to_v2
from airflow_automl.contract.model import create_shape, shapes
from airflow_automl.contract.shapes import check_shape
from airflow_automl.exceptions import AutoMLValidationError
from tests.unit.contract import strategies
from tests.unit.contract.samples import EXAMPLES, ROLE, channel, v1
from tests.unit.contract.strategies import SETTINGS

FULL = {
    "AutoMLJobName": "churn",
    "InputDataConfig": [
        channel(TargetAttributeName="y", SampleWeightAttributeName="w", ContentType="text/csv;header=present"),
        channel(
            TargetAttributeName="y", SampleWeightAttributeName="w", ChannelType="validation", CompressionType="None"
        ),
    ],
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/out/"},
    "ProblemType": "Regression",
    "AutoMLJobObjective": {"MetricName": "MSE"},
    "AutoMLJobConfig": {
        "CompletionCriteria": {"MaxCandidates": 5},
        "SecurityConfig": {"VolumeKmsKeyId": "key"},
        "CandidateGenerationConfig": {
            "FeatureSpecificationS3Uri": "s3://bucket/spec.json",
            "AlgorithmsConfig": [{"AutoMLAlgorithms": ["xgboost"]}],
        },
        "DataSplitConfig": {"ValidationFraction": 0.2},
        "Mode": "ENSEMBLING",
    },
    "RoleArn": ROLE,
    "GenerateCandidateDefinitionsOnly": False,
    "Tags": [{"Key": "a", "Value": "b"}],
    "ModelDeployConfig": {"EndpointName": "churn"},
}


def test_every_field_finds_its_place():
    assert to_v2(FULL) == {
        "AutoMLJobName": "churn",
        "AutoMLJobInputDataConfig": [
            channel(ContentType="text/csv;header=present"),
            channel(ChannelType="validation", CompressionType="None"),
        ],
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/out/"},
        "AutoMLJobObjective": {"MetricName": "MSE"},
        "AutoMLProblemTypeConfig": {
            "TabularJobConfig": {
                "TargetAttributeName": "y",
                "SampleWeightAttributeName": "w",
                "ProblemType": "Regression",
                "GenerateCandidateDefinitionsOnly": False,
                "CompletionCriteria": {"MaxCandidates": 5},
                "CandidateGenerationConfig": {"AlgorithmsConfig": [{"AutoMLAlgorithms": ["xgboost"]}]},
                "FeatureSpecificationS3Uri": "s3://bucket/spec.json",
                "Mode": "ENSEMBLING",
            }
        },
        "SecurityConfig": {"VolumeKmsKeyId": "key"},
        "DataSplitConfig": {"ValidationFraction": 0.2},
        "RoleArn": ROLE,
        "Tags": [{"Key": "a", "Value": "b"}],
        "ModelDeployConfig": {"EndpointName": "churn"},
    }


def test_the_request_is_not_changed():
    before = copy.deepcopy(FULL)
    to_v2(FULL)
    assert before == FULL


def test_a_feature_specification_alone_leaves_no_empty_config():
    generation = {"FeatureSpecificationS3Uri": "s3://bucket/spec.json"}
    tabular = to_v2(v1(AutoMLJobConfig={"CandidateGenerationConfig": generation}))["AutoMLProblemTypeConfig"][
        "TabularJobConfig"
    ]
    assert "CandidateGenerationConfig" not in tabular
    assert tabular["FeatureSpecificationS3Uri"] == "s3://bucket/spec.json"


def test_the_training_channels_columns_count():
    channels = [
        channel(TargetAttributeName="valid", ChannelType="validation", SampleWeightAttributeName="w"),
        channel(TargetAttributeName="train"),
    ]
    tabular = to_v2(v1(InputDataConfig=channels))["AutoMLProblemTypeConfig"]["TabularJobConfig"]
    assert (tabular["TargetAttributeName"], tabular["SampleWeightAttributeName"]) == ("train", "w")


class TestWhatV1Infers:
    @pytest.mark.parametrize(
        ("problem_type", "metric"),
        [("Regression", "MSE"), ("BinaryClassification", "F1"), ("MulticlassClassification", "Accuracy")],
    )
    def test_the_default_objective_of_a_problem_type(self, problem_type, metric):
        request = v1(ProblemType=problem_type)
        assert to_v2(request)["AutoMLJobObjective"] == {"MetricName": metric}
        assert "AutoMLJobObjective" not in to_v2(request, complete=False)

    @pytest.mark.parametrize(
        ("metric", "problem_type"),
        [
            ("AUC", "BinaryClassification"),
            ("F1macro", "MulticlassClassification"),
            ("R2", "Regression"),
            ("Accuracy", None),
        ],
    )
    def test_the_only_problem_type_of_an_objective(self, metric, problem_type):
        request = v1(AutoMLJobObjective={"MetricName": metric})
        assert to_v2(request)["AutoMLProblemTypeConfig"]["TabularJobConfig"].get("ProblemType") == problem_type
        assert "ProblemType" not in to_v2(request, complete=False)["AutoMLProblemTypeConfig"]["TabularJobConfig"]

    def test_neither_stays_neither(self):
        assert "AutoMLJobObjective" not in to_v2(v1())


@pytest.mark.parametrize(
    "example", [e for e in EXAMPLES if e["api"] == "V1" and e["expect"] == "accept"], ids=lambda e: e["id"]
)
def test_v2_accepts_the_converted_examples_of_v1(example):
    converted = to_v2(example["request"])
    assert [found for found in check("V2", converted) if found.severity == "error"] == []


@SETTINGS
@given(request=strategies.valid(create_shape("V1")))
def test_every_valid_v1_request_becomes_a_valid_v2_request(request):
    assert check_shape(shapes(), create_shape("V2"), to_v2(request)) == []


@SETTINGS
@given(data=st.data(), replacement=strategies.ANY_JSON)
def test_malformed_parts_are_carried_along(data, replacement):
    keys = data.draw(st.sampled_from([keys for keys in strategies.places(FULL) if keys]))
    to_v2(strategies.replaced(FULL, keys, replacement))


def test_unknown_fields_are_left_for_the_check():
    converted = to_v2(v1(Novelty=1, AutoMLJobConfig={"Depth": 2}))
    assert {"Novelty", "Depth"} <= {found.path for found in check("V2", converted)}


@pytest.mark.parametrize("request_", [None, [], "x"])
def test_a_value_that_is_not_a_request_is_refused(request_):
    with pytest.raises(AutoMLValidationError, match="must be an object"):
        to_v2(request_)
