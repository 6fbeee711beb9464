"""Daily flights of airlines, forecast by the example DAG: from history to batch forecasts, an endpoint and a report."""

from __future__ import annotations

import csv
import io

import pytest

from airflow_automl.demo import dataset
from airflow_automl.demo.corpora import daily_flights
from tests.integration.dags.conftest import World

pytest.importorskip("statsforecast", reason="the extra 'timeseries' is not installed")
pytest.importorskip("prophet", reason="the extra 'timeseries' is not installed")


@pytest.mark.slow
def test_demand_is_forecast_for_all_items_and_served_for_one(world: World) -> None:
    flights = daily_flights(carriers=3)
    s3 = world.client("s3")
    body = flights.to_csv(index=False).encode()
    s3.put_object(Bucket=dataset.BUCKET, Key="demand/history/flights.csv", Body=body)

    # The defaults but for two: the quick algorithms, and a runtime limit that ends the test if something hangs.
    outcome = world.dags_test("demand_forecasting", {"algorithms": ["npts", "ets"], "max_runtime": 500})

    assert outcome.code == 0, outcome.log
    states = world.task_states("demand_forecasting")
    assert states == dict.fromkeys(["train", "good_enough", "forecast", "deploy", "report"], "success")
    job = world.client("sagemaker").describe_auto_ml_job_v2(AutoMLJobName=world.newest_job())
    assert job["AutoMLJobSecondaryStatus"] == "Completed"
    assert job["BestCandidate"]["FinalAutoMLJobObjectiveMetric"]["MetricName"] == "AverageWeightedQuantileLoss"
    assert job["BestCandidate"]["FinalAutoMLJobObjectiveMetric"]["Value"] < 0.25
    (forecasts,) = s3.list_objects_v2(Bucket=dataset.BUCKET, Prefix="demand/forecasts/")["Contents"]
    assert forecasts["Key"].endswith("/flights.csv.out")
    text = s3.get_object(Bucket=dataset.BUCKET, Key=forecasts["Key"])["Body"].read().decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["item", "date", "p10", "p50", "p90", "mean"]
    assert len(rows) == 3 * 14
    assert rows[0]["date"] == "2014-01-01 00:00:00"
    one = flights[flights["item"] == "UA"].tail(90)
    answer = world.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="demand", ContentType="text/csv", Body=one.to_csv(index=False)
    )
    served = list(csv.DictReader(io.StringIO(answer["Body"].read().decode())))
    assert [row["item"] for row in served] == ["UA"] * 14
    (page,) = [
        item["Key"]
        for item in s3.list_objects_v2(Bucket=dataset.BUCKET, Prefix="demand/reports/")["Contents"]
        if item["Key"].endswith(".html")
    ]
    report = s3.get_object(Bucket=dataset.BUCKET, Key=page)["Body"].read().decode()
    assert "Forecast of UA" in report
    assert 'class="band"' in report
    assert "Coverage, measured" in report
