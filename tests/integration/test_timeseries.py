"""A forecasting job through an unmodified boto3: created, listed, deployed by the job, called, and used in batch."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from airflow_automl.contract import documents, metrics, time_series
from airflow_automl.demo.corpora import daily_flights
from tests.service.running import ROLE, RunningService, ended, real_service, until

pytest.importorskip("statsforecast", reason="the extra 'timeseries' is not installed")
pytest.importorskip("prophet", reason="the extra 'timeseries' is not installed")

# The test of the example DAG covers the same steps in `make test`.
pytestmark = pytest.mark.slow

FLIGHTS = daily_flights(carriers=2)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with real_service(tmp_path_factory.mktemp("forecasting") / "data", "--max-jobs", "1") as running:
        yield running


@pytest.fixture(scope="module")
def job(service: RunningService) -> dict[str, Any]:
    """A job that was made with the builder and deployed its best candidate."""
    service.client("s3").put_object(Bucket="automl", Key="in/flights.csv", Body=FLIGHTS.to_csv(index=False).encode())
    request = time_series(
        "s3://automl/in/",
        target="demand",
        timestamp="date",
        item_id="item",
        frequency="1D",
        horizon=14,
        quantiles=["p10", "p50", "p90"],
        algorithms=["npts", "ets"],
        max_runtime=500,
    )
    sagemaker = service.client()
    sagemaker.create_auto_ml_job_v2(
        AutoMLJobName="flights",
        RoleArn=ROLE,
        OutputDataConfig={"S3OutputPath": "s3://automl/out"},
        ModelDeployConfig={"EndpointName": "flights"},
        **request,
    )
    found = ended(sagemaker, "flights", 500)
    assert found["AutoMLJobStatus"] == "Completed", found.get("FailureReason")
    return found


def test_the_job_is_described_as_the_api_says(service: RunningService, job: dict[str, Any]) -> None:
    assert job["AutoMLJobSecondaryStatus"] == "Completed", job.get("PartialFailureReasons")
    assert job["AutoMLProblemTypeConfigName"] == "TimeSeriesForecasting"
    assert job["ResolvedAttributes"]["AutoMLJobObjective"] == {"MetricName": "AverageWeightedQuantileLoss"}
    assert "AutoMLProblemTypeResolvedAttributes" not in job["ResolvedAttributes"]
    assert documents.problem_type(job) == "TimeSeriesForecasting"
    locations = job["BestCandidate"]["CandidateProperties"]["CandidateArtifactLocations"]
    assert set(locations) == {"Explainability", "ModelInsights", "BacktestResults"}
    candidates = service.client().list_candidates_for_auto_ml_job(AutoMLJobName="flights")["Candidates"]
    assert len(candidates) == 3
    # A candidate that can't be explained has backtest results too.
    others = [entry for entry in candidates if entry["CandidateName"] != job["BestCandidate"]["CandidateName"]]
    assert {*others[0]["CandidateProperties"]["CandidateArtifactLocations"]} == {"BacktestResults"}
    values = [entry["FinalAutoMLJobObjectiveMetric"]["Value"] for entry in candidates]
    assert job["BestCandidate"]["FinalAutoMLJobObjectiveMetric"]["Value"] == min(values)


def forecast(service: RunningService, body: str) -> list[dict[str, str]]:
    answer = service.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="flights", ContentType="text/csv", Body=body
    )
    return list(csv.DictReader(io.StringIO(answer["Body"].read().decode())))


def test_the_endpoint_forecasts_from_recent_history_and_known_columns(
    service: RunningService, job: dict[str, Any]
) -> None:
    assert job["ModelDeployResult"] == {"EndpointName": "flights"}
    recent = FLIGHTS[FLIGHTS["item"] == "UA"].tail(60)
    rows = forecast(service, recent.to_csv(index=False))
    assert list(rows[0]) == ["item", "date", "p10", "p50", "p90", "mean"]
    assert [row["date"][:10] for row in rows] == recent["date"].tail(14).tolist()
    typical = recent["demand"].mean()
    assert all(0.5 * typical < float(row["p50"]) < 1.5 * typical for row in rows)


def test_the_endpoint_is_evaluated_against_newer_values(service: RunningService, job: dict[str, Any]) -> None:
    found = service.evaluate(endpoint_name="flights", job_name="flights", data="s3://automl/in/")
    assert (found["rows"], found["unit"], found["complete"]) == (2, "series", True)
    measured, validated = metrics.candidate_metrics(found), metrics.candidate_metrics(job["BestCandidate"])
    assert found["FinalAutoMLJobObjectiveMetric"]["MetricName"] == "AverageWeightedQuantileLoss"
    assert set(measured) == {"AverageWeightedQuantileLoss", "WAPE", "MAPE", "MASE", "RMSE"}
    # The last two weeks before the forecast are among those on which the candidate was validated.
    assert measured["WAPE"] == pytest.approx(validated["WAPE"], rel=1.0)


def test_the_endpoint_says_what_is_wrong_with_a_request(service: RunningService, job: dict[str, Any]) -> None:
    with pytest.raises(ClientError) as refused:
        forecast(service, FLIGHTS.drop(columns="weekend").tail(60).to_csv(index=False))
    assert refused.value.response["OriginalStatusCode"] == 400
    assert "The column 'weekend' is not in the request" in refused.value.response["OriginalMessage"]


def test_batch_transform_forecasts_whole_files(service: RunningService, job: dict[str, Any]) -> None:
    sagemaker = service.client()
    sagemaker.create_model(
        ModelName="flights", ExecutionRoleArn=ROLE, Containers=job["BestCandidate"]["InferenceContainers"]
    )
    sagemaker.create_transform_job(
        TransformJobName="flights",
        ModelName="flights",
        MaxPayloadInMB=0,
        TransformInput={
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://automl/in/"}},
            "ContentType": "text/csv",
            "SplitType": "None",
        },
        TransformOutput={"S3OutputPath": "s3://automl/forecasts", "AssembleWith": "Line"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = sagemaker.describe_transform_job(TransformJobName="flights")
        return found if found["TransformJobStatus"] != "InProgress" else None

    found = until(look, 120)
    assert found["TransformJobStatus"] == "Completed", found.get("FailureReason")
    stored = service.client("s3").get_object(Bucket="automl", Key="forecasts/flights.csv.out")["Body"].read()
    rows = list(csv.DictReader(io.StringIO(stored.decode())))
    assert {row["item"] for row in rows} == {"B6", "UA"}
    assert len(rows) == 2 * 14
