"""A champion that is scored now, through its endpoint, on the challenger's validation rows."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from airflow_automl.evaluation.subject import Subject, subject_of
from airflow_automl.exceptions import AutoMLValidationError
from tests.hosting import HostingStandIn
from tests.unit.operators.conftest import make_candidate, put_live
from tests.unit.operators.test_gate import decide

JOB = {
    "AutoMLJobName": "churn-5a8e",
    "AutoMLJobArn": "arn:aws:sagemaker:us-east-1:123456789012:automl-job/churn-5a8e",
    "AutoMLJobInputDataConfig": [],
    "OutputDataConfig": {"S3OutputPath": "s3://acme-ml/out/"},
    "RoleArn": "arn:aws:iam::123456789012:role/automl",
    "CreationTime": 1.0,
    "LastModifiedTime": 1.0,
    "AutoMLJobStatus": "Completed",
    "AutoMLJobSecondaryStatus": "Completed",
    "AutoMLProblemTypeConfig": {"TabularJobConfig": {"TargetAttributeName": "churn"}},
}


def said(probability: float) -> str:
    """A row as Autopilot's containers answer it."""
    label = "Yes" if probability >= 0.5 else "No"
    return f"{label},\"[{1 - probability}, {probability}]\",\"['No', 'Yes']\"\n"


@pytest.fixture
def champion(hosting: HostingStandIn) -> HostingStandIn:
    """An endpoint whose answer is its row's first value."""
    put_live(hosting, response="predicted_label,probabilities,labels")
    hosting.predict = lambda body: "".join(said(float(line.split(",")[0])) for line in body.splitlines())
    hosting.jobs["churn-5a8e"] = JOB
    return hosting


@pytest.fixture
def rows(tmp_path: Path) -> str:
    """Four rows in two files, one of them gzipped, and one row without a label."""
    (tmp_path / "part-0.csv").write_text('risk,churn,note\n0.9,Yes,"a, b"\n0.4,Yes,c\n0.7,,unknown\n')
    (tmp_path / "part-1.csv.gz").write_bytes(gzip.compress(b"risk,churn,note\n0.6,No,d\n0.1,No,e\n"))
    return f"file://{tmp_path}"


def test_both_are_measured_on_the_same_rows(champion: HostingStandIn, context: dict[str, Any], rows: str) -> None:
    decision = decide(context, job_name="churn-5a8e", champion="churn", champion_data=rows, min_gain=0.05)

    assert decision["champion"] == {
        "name": "endpoint churn (churn-WeightedEnsemble-L2), scored now on 4 rows",
        "metric": "AUC",
        "value": 0.75,
        "candidate_value": 0.85,
        "gain": pytest.approx(0.1),
    }
    assert decision["passed"]
    (call,) = champion.made("InvokeEndpoint")
    assert sorted(call["Body"].splitlines()) == ["0.1,e", "0.4,c", "0.6,d", '0.9,"a, b"']
    assert call["TargetVariant"] is None


def test_the_target_can_be_named(champion: HostingStandIn, context: dict[str, Any], rows: str) -> None:
    decision = decide(context, champion="churn", champion_data=rows, target="churn", metric="LogLoss")
    assert decision["champion"]["value"] == pytest.approx(0.5108, abs=1e-4)
    champion.jobs.clear()
    with pytest.raises(AutoMLValidationError, match="target: is not given, and neither is job= or job_name="):
        decide(context, champion="churn", champion_data=rows)


def test_a_champion_that_answers_labels_only_blocks_no_deployment(
    champion: HostingStandIn, context: dict[str, Any], rows: str, capsys: Any, caplog: Any
) -> None:
    for model in champion.models.values():
        model["PrimaryContainer"]["Environment"].pop("SAGEMAKER_INFERENCE_OUTPUT")
    champion.predict = lambda body: "".join("Yes\n" for _ in body.splitlines())
    settings = {"champion": "churn", "champion_data": rows, "target": "churn"}
    decision = decide(context, **settings)
    logged = capsys.readouterr().out + caplog.text
    assert decision["passed"]
    assert decision["champion"] is None
    for told in (decision["reason"], logged):
        assert "endpoint churn answers predicted_label; AUC needs probabilities, labels too; deploy it with" in told
    assert not champion.made("InvokeEndpoint")
    assert not decide(context, require={"AUC": 0.99}, **settings)["passed"]
    better = make_candidate()
    better["CandidateProperties"]["CandidateMetrics"].append({"MetricName": "Accuracy", "Value": 0.9})
    decision = decide(context, candidate=better, metric="Accuracy", **settings)
    assert decision["champion"]["value"] == 0.5


def test_the_variant_with_the_most_traffic_is_called(
    champion: HostingStandIn, context: dict[str, Any], rows: str
) -> None:
    (config,) = champion.configs.values()
    (variant,) = config["ProductionVariants"]
    config["ProductionVariants"] = [{**variant, "VariantName": "shadow", "InitialVariantWeight": 0.1}, variant]
    decide(context, champion="churn", champion_data=rows, target="churn")
    assert champion.made("InvokeEndpoint")[0]["TargetVariant"] == "AllTraffic"
    # As after UpdateEndpointWeightsAndCapacities.
    weights = [("shadow", 0.9), ("AllTraffic", 0.1)]
    champion.endpoints["churn"]["ProductionVariants"] = [{"VariantName": n, "CurrentWeight": w} for n, w in weights]
    decide(context, champion="churn", champion_data=rows, target="churn")
    assert champion.made("InvokeEndpoint")[1]["TargetVariant"] == "shadow"


def test_regressions(champion: HostingStandIn, context: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("x,price\n1,2\n2,3\n")
    for model in champion.models.values():
        model["PrimaryContainer"]["Environment"].pop("SAGEMAKER_INFERENCE_OUTPUT")
    champion.predict = lambda body: "".join(f"{float(line):g}\n" for line in body.splitlines())
    rival = make_candidate()
    rival["FinalAutoMLJobObjectiveMetric"] = {"MetricName": "MSE", "Value": 0.25}
    rival["CandidateProperties"]["CandidateMetrics"] = [{"MetricName": "MSE", "Value": 0.25, "Set": "Validation"}]
    settings = {"candidate": rival, "champion": "churn", "champion_data": str(tmp_path), "target": "price"}
    assert decide(context, **settings)["champion"]["gain"] == 0.75
    (tmp_path / "rows.csv").write_text("x,price\n1,dear\n")
    with pytest.raises(AutoMLValidationError, match="'dear' is not a number, but the metric is one of a regression"):
        decide(context, **settings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n", r"rows.csv has no column 'churn'; it has: a, b"),
        (b"risk,churn\n1,Yes,2\n", r"line 2 of .*rows.csv has 3 values, its header 2"),
        (b"risk,churn\n1,\n", r"there are no rows with a churn at"),
        (b"\xff\xfe", r"is neither Parquet nor CSV in UTF-8"),
        (b"\x1f\x8b\x08", r"is neither Parquet nor CSV in UTF-8"),
        (None, r"there is nothing at"),
    ],
)
def test_data_that_cannot_be_used(
    champion: HostingStandIn, context: dict[str, Any], tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(AutoMLValidationError, match=message):
        decide(context, champion="churn", champion_data=f"{tmp_path}/rows.csv", target="churn")


def test_an_endpoint_that_answers_something_else(champion: HostingStandIn, context: dict[str, Any], rows: str) -> None:
    champion.predict = lambda _body: said(0.4)
    with pytest.raises(AutoMLValidationError, match="endpoint churn answered 4 rows with 1 lines of 3 values"):
        decide(context, champion="churn", champion_data=rows, target="churn")


def test_only_endpoints_can_be_scored(hosting: HostingStandIn, context: dict[str, Any]) -> None:
    with pytest.raises(AutoMLValidationError, match="only an endpoint can be scored"):
        decide(context, champion={"ModelPackageGroupName": "g"}, champion_data="s3://b/", target="y")


def test_the_first_candidate_passes_unscored(hosting: HostingStandIn, context: dict[str, Any]) -> None:
    assert decide(context, champion="churn", champion_data="s3://b/", target="y")["passed"]


@pytest.mark.parametrize(
    ("describe", "subject"),
    [
        (JOB, Subject("Tabular", "churn", config={"TargetAttributeName": "churn"})),
        (
            {
                "AutoMLProblemTypeConfig": {
                    "TextClassificationJobConfig": {"TargetLabelColumn": "t", "ContentColumn": "c"}
                }
            },
            Subject("TextClassification", "t", content="c", config={"TargetLabelColumn": "t", "ContentColumn": "c"}),
        ),
        (
            {"InputDataConfig": [{"TargetAttributeName": "y", "SampleWeightAttributeName": "w"}]},
            Subject("Tabular", "y", weight="w"),
        ),
        (
            {
                "AutoMLProblemTypeConfig": {
                    "TabularJobConfig": {
                        "TargetAttributeName": "y",
                        "SampleWeightAttributeName": "w",
                        "ProblemType": "Regression",
                    }
                },
                "AutoMLJobObjective": {"MetricName": "MAE"},
            },
            Subject(
                "Regression",
                "y",
                "MAE",
                "w",
                config={"TargetAttributeName": "y", "SampleWeightAttributeName": "w", "ProblemType": "Regression"},
            ),
        ),
    ],
)
def test_the_subject_of_a_job_is_read_from_its_description(describe: dict[str, Any], subject: Subject) -> None:
    assert subject_of(describe) == subject
