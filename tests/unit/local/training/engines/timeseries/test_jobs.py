"""TimeSeriesForecasting jobs from data in S3 to candidates that answer."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from airflow_automl.contract.metrics import best, candidate_metrics
from airflow_automl.local.models import artifacts
from airflow_automl.local.models.payloads import PayloadError
from airflow_automl.local.models.wire import Payload
from airflow_automl.local.training.engines import isolation
from airflow_automl.local.training.engines.course import Clock, Course, TimeIsUp
from airflow_automl.local.training.engines.timeseries.algorithms import base
from airflow_automl.local.training.engines.timeseries.algorithms.naive import Decomposition
from airflow_automl.report import build, render
from airflow_automl.report.insights import read as read_insights
from tests.local_s3 import BUCKET, Bucket
from tests.unit.local.hosted import Hosted
from tests.unit.local.training import running as training
from tests.unit.local.training.engines.classifying import Jobs, channel, failure, killed_in_time
from tests.unit.local.training.engines.timeseries.conftest import config, weekly
from tests.unit.report.samples import describe

CSV = "text/csv;header=present"
QUICK = ("npts", "ets")


def problem(*algorithms: str, **more: Any) -> dict[str, Any]:
    found = config(**more)
    if algorithms:
        found["CandidateGenerationConfig"] = {"AlgorithmsConfig": [{"AutoMLAlgorithms": list(algorithms)}]}
    return {"TimeSeriesForecastingJobConfig": found}


@pytest.fixture
def jobs(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.endpoint)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return Jobs(bucket, tmp_path)


def labels(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Algorithm → the last state of its candidate."""
    return {
        entry["CandidateSteps"][-1]["CandidateStepName"].split("train-")[1].rsplit("-", 1)[0]: entry
        for entry in training.candidates(found).values()
    }


def sales(days: int = 60) -> pd.DataFrame:
    """Two items in two shops with a promotion that is known for the week to come."""
    frames = []
    for number, (item, shop) in enumerate([("tea", "01000"), ("tea", "B"), ("milk", "B")]):
        part = weekly(1, days + 7).assign(item=item, shop=shop)
        part["promo"] = np.where(np.arange(len(part)) % 5 == number, "yes", "no")
        part["y"] = (part["y"] + 10 * (part["promo"] == "yes")).where(np.arange(len(part)) < days)
        frames.append(part)
    return pd.concat(frames, ignore_index=True)


def test_a_job_from_data_to_a_report_and_a_served_forecast(jobs: Jobs, bucket: Bucket, tmp_path: Path) -> None:
    frame = sales()
    uri = bucket.put("in/sales.parquet", frame.assign(ts=pd.to_datetime(frame["ts"])))
    wanted = problem(
        *QUICK,
        horizon=7,
        ForecastQuantiles=["p90", "p50", "p5"],
        TimeSeriesConfig={"GroupingAttributeNames": ["shop"]},
        HolidayConfig=[{"CountryCode": "US"}],
    )
    events = jobs.train(wanted, [channel(uri, content_type="x-application/vnd.amazon+parquet")])

    assert events[-1] | {"at": 0} == {"event": "completed", "secondary": "Completed", "attempt": 1, "at": 0}
    assert training.phases(events) == [
        *("Starting", "AnalyzingData", "PreTraining", "TrainingModels"),
        *("GeneratingExplainabilityReport", "GeneratingModelInsightsReport"),
    ]
    resolved = next(event for event in events if event["event"] == "resolved")
    assert (resolved["problem_type"], resolved["objective"]) == ("TimeSeriesForecasting", "AverageWeightedQuantileLoss")
    assert resolved["completion_criteria"] == {"MaxCandidates": 1, "MaxAutoMLJobRuntimeInSeconds": 3600}
    candidates = labels(events)
    assert set(candidates) == {"npts", "ets", "ensemble"}
    order = [event["candidate"]["CandidateStatus"] for event in events if event["event"] == "candidate"]
    assert order[:4] == ["InProgress", "Completed", "InProgress", "Completed"]
    for candidate in candidates.values():
        assert candidate["CandidateStatus"] == "Completed"
        assert set(candidate_metrics(candidate)) == {
            *("AverageWeightedQuantileLoss", "WAPE", "RMSE", "MAPE", "MASE", "InferenceLatency")
        }
        assert candidate["FinalAutoMLJobObjectiveMetric"]["Type"] == "Minimize"
        location = candidate["CandidateProperties"]["CandidateArtifactLocations"]["BacktestResults"]
        names = [key.rpartition("/")[2] for key in bucket.keys(location.removeprefix(f"s3://{BUCKET}/"))]
        assert names == ["item-metrics.csv", "predictions.csv", "summary.json"]
    winner = best(list(candidates.values()))
    assert winner is not None
    locations = winner["CandidateProperties"]["CandidateArtifactLocations"]
    assert set(locations) == {"BacktestResults", "Explainability", "ModelInsights"}
    _check_results(bucket, locations)
    _check_report(bucket, winner)
    for label in ("ensemble", "ets"):
        _check_served(bucket, candidates[label], training.digests(events), frame, tmp_path)


def _check_results(bucket: Bucket, locations: dict[str, str]) -> None:
    predictions = pd.read_csv(io.BytesIO(bucket.read(f"{locations['BacktestResults']}/predictions.csv")), dtype=str)
    assert list(predictions.columns) == ["window", "item", "shop", "ts", "y", "p5", "p50", "p90", "mean"]
    assert len(predictions) == 2 * 3 * 7
    assert set(predictions["shop"]) == {"01000", "B"}
    summary = json.loads(bucket.read(f"{locations['BacktestResults']}/summary.json"))
    assert summary["better_than_seasonal_naive"] is True
    assert set(summary["coverage"]) == {"p5", "p50", "p90"}
    assert summary["intervals"][0] | {"measured": 0} == {"lower": "p5", "upper": "p90", "nominal": 0.85, "measured": 0}
    assert len(summary["windows"]) == 2
    assert summary["data"]["features"] == [
        {"column": "promo", "kind": "category", "known_in_the_future": True},
    ]
    explained = json.loads(bucket.read(f"{locations['Explainability']}/analysis.json"))
    values = explained["explanations"]["kernel_shap"]["label0"]["global_shap_values"]
    assert set(values) == {"promo", "holidays:US"}
    insights = json.loads(bucket.read(f"{locations['ModelInsights']}/statistics.json"))
    assert insights["forecast_metrics"]["verdict"].startswith("Better than the seasonal naive forecast")
    assert insights["dataset"]["items"] == 3


def _check_report(bucket: Bucket, winner: dict[str, Any]) -> None:
    insights = read_insights(
        winner,
        lambda prefix: [f"s3://{BUCKET}/{key}" for key in bucket.keys(prefix.removeprefix(f"s3://{BUCKET}/"))],
        bucket.read,
        "TimeSeriesForecasting",
    )
    names = {"AutoMLProblemTypeConfig": {"TimeSeriesForecastingJobConfig": {}}}
    answer = describe(AutoMLProblemTypeConfigName="TimeSeriesForecasting", **names)
    page = render(build(answer, [], insights=insights))
    assert "Forecast of tea / 01000" in page
    assert page.count('class="band"') == 3 * 3
    assert "Better than the seasonal naive forecast in AverageWeightedQuantileLoss" in page
    assert "<td>p5 to p90</td>" in page


def _check_served(
    bucket: Bucket, candidate: dict[str, Any], recorded: dict[str, str], frame: pd.DataFrame, tmp_path: Path
) -> None:
    (container,) = candidate["InferenceContainers"]
    content = bucket.read(container["ModelDataUrl"])
    assert hashlib.sha256(content).hexdigest() == recorded[container["ModelDataUrl"]]
    archive, folder = tmp_path / "model.tar.gz", tmp_path / candidate["CandidateName"]
    archive.write_bytes(content)
    artifacts.unpack(archive, folder)
    history = frame[frame["item"] == "tea"]
    status, body, kind = invoke(folder, history.to_csv(index=False))
    assert (status, kind) == (200, "text/csv; charset=utf-8")
    rows = list(csv.DictReader(io.StringIO(body)))
    assert list(rows[0]) == ["item", "shop", "ts", "p5", "p50", "p90", "mean"]
    assert len(rows) == 2 * 7
    assert rows[0]["shop"] == "01000"
    assert rows[0]["ts"] == "2024-03-01 00:00:00"
    assert all(float(row["p5"]) <= float(row["p50"]) <= float(row["p90"]) for row in rows)


def invoke(folder: Path, body: str, content_type: str = CSV, accept: str = "text/csv") -> tuple[int, str, str]:
    """Ask the model for a forecast, as an endpoint does."""
    answer = Hosted((folder, {}))(body.encode(), content_type, accept)
    return answer.status, answer.body.decode(), answer.content_type


@pytest.fixture(scope="module")
def served(s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked artefact of a model over the columns item, ts, y and price."""
    import boto3

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL_S3": s3_endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        bucket = Bucket(client, s3_endpoint)
        client.create_bucket(Bucket=BUCKET)
        frame = weekly(2, 40)
        uri = bucket.put("served.csv", frame.assign(price=np.arange(len(frame)) % 3))
        folder = tmp_path_factory.mktemp("served")
        events = Jobs(bucket, folder).train(problem("npts"), [channel(uri)])
        (candidate,) = training.candidates(events).values()
        content = bucket.read(candidate["InferenceContainers"][0]["ModelDataUrl"])
        for key in bucket.keys():  # noqa: SIM118 - not a mapping
            client.delete_object(Bucket=BUCKET, Key=key)
        client.delete_bucket(Bucket=BUCKET)
    (folder / "model.tar.gz").write_bytes(content)
    artifacts.unpack(folder / "model.tar.gz", folder / "unpacked")
    return folder / "unpacked"


HISTORY = weekly(1, 12).assign(price="1")


def test_an_item_that_was_not_trained_is_forecast_too(served: Path) -> None:
    status, body, _ = invoke(served, HISTORY.assign(item="new, one").to_csv(index=False), accept="*/*")
    assert status == 200
    rows = list(csv.DictReader(io.StringIO(body)))
    assert [row["ts"] for row in rows] == [f"2024-01-{day} 00:00:00" for day in (13, 14, 15)]
    assert {row["item"] for row in rows} == {"new, one"}


def test_equal_requests_get_equal_answers_whatever_the_order_of_rows_and_columns(served: Path) -> None:
    plain = invoke(served, HISTORY.to_csv(index=False))
    shuffled = HISTORY.sample(frac=1, random_state=1)[["price", "y", "item", "ts"]]
    assert invoke(served, shuffled.to_csv(index=False)) == plain


def test_short_series_are_forecast_and_those_without_a_value_are_left_out(served: Path) -> None:
    rows = [HISTORY, HISTORY.head(1).assign(item="short"), HISTORY.assign(item="empty", y="")]
    status, body, _ = invoke(served, pd.concat(rows).to_csv(index=False))
    assert status == 200
    assert {row["item"] for row in csv.DictReader(io.StringIO(body))} == {"item 0", "short"}


def test_requests_that_come_together_are_one_panel_and_get_their_own_series(served: Path) -> None:
    model = Hosted((served, {})).model
    asked = [HISTORY, HISTORY.assign(item="new"), HISTORY.assign(y=None), HISTORY.head(1)]
    payloads = [Payload(rows.to_csv(index=False).encode(), CSV) for rows in asked]
    together = model.respond(payloads)
    assert isinstance(together[2], PayloadError)
    for payload, answer in zip(payloads, together, strict=True):
        (alone,) = model.respond([payload])
        if not isinstance(alone, PayloadError):
            assert answer == alone


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "message"),
    [
        ("", CSV, "text/csv", "The body is empty"),
        (HISTORY.drop(columns="price").to_csv(index=False), CSV, "", "The column 'price' is not in the request"),
        (HISTORY.rename(columns={"y": "Y"}).to_csv(index=False), CSV, "", "Did you mean 'Y'?"),
        (HISTORY.to_csv(index=False, header=False), CSV, "", "is not in the request"),
        (
            HISTORY.assign(y=None).to_csv(index=False),
            CSV,
            "",
            "no value of 'y' to forecast from",
        ),
        (HISTORY.assign(y="many").to_csv(index=False), CSV, "", "must be numeric; it has the value 'many'"),
        (HISTORY.assign(ts="soon").to_csv(index=False), CSV, "", "has the value 'soon'"),
        (HISTORY.assign(price="cheap").to_csv(index=False), CSV, "", "the column 'price' takes a number, not 'cheap'"),
        ("item,ts,y,price\na,2024-01-01,1\n", CSV, "", "Row 2 has 3 values where the header has 4 columns"),
        ("item,item,ts,y,price\n", CSV, "", "the column 'item' more than once"),
        ("[]", "application/json", "", "it reads text/csv"),
        (HISTORY.to_csv(index=False), CSV, "application/json", "it answers text/csv"),
    ],
)
def test_a_request_that_cannot_be_read_gets_the_reason(
    served: Path, body: str, content_type: str, accept: str, message: str
) -> None:
    status, answer, _ = invoke(served, body, content_type, accept)
    assert status == 400
    assert message in answer


def test_users_can_load_an_artefact_and_forecast(served: Path) -> None:
    model = artifacts.load(served)
    found = model.forecast(HISTORY.assign(price=1.0))
    assert list(found.columns) == ["item", "ts", "p10", "p50", "p90", "mean"]
    assert len(found) == 3


@pytest.mark.parametrize(
    ("frame", "more", "reason"),
    [
        (weekly().drop(columns="y"), {}, "The target 'y' is not in the data at s3://"),
        (weekly().rename(columns={"ts": "Ts"}), {}, "Did you mean 'Ts'?"),
        (weekly(), {"TimeSeriesConfig": {"GroupingAttributeNames": ["shop"]}}, "The grouping column 'shop'"),
        (weekly(), {"TimeSeriesConfig": {"GroupingAttributeNames": ["item"]}}, "names the column 'item' twice"),
        (weekly().assign(y="n/k"), {}, "The target 'y' must be numeric; it has the value 'n/k'"),
        (weekly().assign(y=""), {}, "The target 'y' has no value in any row"),
        (weekly().assign(item=""), {}, "No row has both a timestamp and an item identifier"),
        (weekly().assign(ts="then"), {}, "The timestamp column 'ts' has the value 'then'"),
        (weekly(days=20), {"horizon": 6}, "at most a quarter of that, 5"),
        (weekly(days=3), {"horizon": 1}, "at least four are needed"),
        (weekly(), {"horizon": 501}, "at most 500 steps"),
        (weekly(), {"HolidayConfig": [{"CountryCode": "XX"}]}, "holidays of 'XX', for which there is no calendar"),
        (
            weekly(),
            {"Transformations": {"Filling": {"y": {"backfill": "value", "backfill_value": "x"}}}},
            "must be a number",
        ),
        (
            weekly().assign(price=1.5),
            {"Transformations": {"Filling": {"price": {"futurefill": "value", "futurefill_value": "x"}}}},
            "The column 'price' is numeric, but Filling sets it to 'x'",
        ),
        (weekly(), {"Transformations": {"Filling": {"rain": {"backfill": "zero"}}}}, "The column 'rain' is not in"),
    ],
)
def test_data_that_breaks_a_rule_fails_the_job_and_is_named(
    jobs: Jobs, bucket: Bucket, frame: pd.DataFrame, more: dict[str, Any], reason: str
) -> None:
    uri = bucket.put("in/data.csv", frame)
    assert reason in failure(jobs.train(problem("npts", **more), [channel(uri)]))


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"FeatureAttributeNames": ["y"]}, "names the target 'y', which can't be a feature"),
        ({"FeatureAttributeNames": ["item"]}, "names the item identifier 'item'"),
        ({"FeatureDataTypes": {"price": "sequence"}}, "TimeSeriesForecasting knows"),
        ({"FeatureAttributeNames": ["rain"]}, "not in the data"),
    ],
)
def test_a_feature_specification_is_checked(jobs: Jobs, bucket: Bucket, document: dict[str, Any], reason: str) -> None:
    data, spec = bucket.put("in/d.csv", weekly().assign(price=1)), bucket.put("spec.json", json.dumps(document))
    assert reason in failure(jobs.train(problem("npts", FeatureSpecificationS3Uri=spec), [channel(data)]))


def test_only_the_columns_of_the_feature_specification_are_used(jobs: Jobs, bucket: Bucket) -> None:
    frame = weekly().assign(price=np.arange(180) % 4, code=np.arange(180) % 3)
    spec = bucket.put(
        "spec.json", json.dumps({"FeatureAttributeNames": ["code"], "FeatureDataTypes": {"code": "categorical"}})
    )
    events = jobs.train(problem("npts", FeatureSpecificationS3Uri=spec), [channel(bucket.put("in/d.csv", frame))])
    (candidate,) = training.candidates(events).values()
    location = candidate["CandidateProperties"]["CandidateArtifactLocations"]["BacktestResults"]
    summary = json.loads(bucket.read(f"{location}/summary.json"))
    assert summary["data"]["features"] == [{"column": "code", "kind": "category", "known_in_the_future": False}]


def test_an_empty_list_of_features_leaves_all_columns_out(jobs: Jobs, bucket: Bucket) -> None:
    spec = bucket.put("spec.json", json.dumps({"FeatureAttributeNames": []}))
    uri = bucket.put("in/d.csv", weekly(1).assign(price=1))
    events = jobs.train(problem("npts", FeatureSpecificationS3Uri=spec), [channel(uri)])
    (candidate,) = training.candidates(events).values()
    location = candidate["CandidateProperties"]["CandidateArtifactLocations"]["BacktestResults"]
    assert json.loads(bucket.read(f"{location}/summary.json"))["data"]["features"] == []


def test_requested_algorithms_that_need_torch_are_omitted_with_a_partial_failure(
    jobs: Jobs, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base.importlib.util, "find_spec", lambda name: None if name == "torch" else object())
    uri = bucket.put("in/d.csv", weekly(1))
    events = jobs.train(problem("npts", "deepar"), [channel(uri)])
    assert set(labels(events)) == {"npts"}
    (said,) = [event["message"] for event in events if event["event"] == "partial_failure"]
    assert "deepar was not trained: the package torch is not installed" in said
    assert "pip install 'airflow-automl[timeseries,torch]'" in said
    assert "name other algorithms" in failure(jobs.train(problem("cnn-qr"), [channel(uri)]))


def test_an_algorithm_that_breaks_does_not_take_the_others_along(
    jobs: Jobs, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_automl.local.training.engines.timeseries.algorithms.statistical import Ets

    monkeypatch.setattr(Ets, "fit", classmethod(lambda cls, panel, context: 1 / 0))
    uri = bucket.put("in/d.csv", weekly(1))
    events = jobs.train(problem(*QUICK), [channel(uri)])
    assert events[-1]["secondary"] == "Completed"
    assert {label: entry["CandidateStatus"] for label, entry in labels(events).items()} == {
        "npts": "Completed",
        "ets": "Failed",
        "ensemble": "Completed",
    }
    assert any("ets failed: ZeroDivisionError" in event.get("message", "") for event in events)
    assert "No candidate could be trained: ets: ZeroDivisionError" in failure(
        jobs.train(problem("ets"), [channel(uri)])
    )


def test_finished_candidates_are_kept_at_the_time_limit(
    jobs: Jobs, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_automl.local.training.engines.course import TimeIsUp
    from airflow_automl.local.training.engines.timeseries.algorithms.statistical import Ets

    def too_long(cls: type, panel: Any, context: Any) -> Any:
        assert context.clock.left is not None
        raise TimeIsUp

    monkeypatch.setattr(Ets, "fit", classmethod(too_long))
    uri = bucket.put("in/d.csv", weekly(1))
    limits = {"CompletionCriteria": {"MaxRuntimePerTrainingJobInSeconds": 60}}
    events = jobs.train(problem(*QUICK, **limits), [channel(uri)])
    assert events[-1]["secondary"] == "Completed"
    assert {label: entry["CandidateStatus"] for label, entry in labels(events).items()} == {
        "npts": "Completed",
        "ets": "Stopped",
        "ensemble": "Completed",
    }
    nothing = jobs.train(problem("ets", **limits), [channel(uri)])
    assert "MaxRuntimePerTrainingJobInSeconds (60 s): allow more time" in failure(nothing)


def test_a_series_that_never_ends_is_killed_at_the_limit(
    jobs: Jobs, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_automl.local.training.engines.timeseries.algorithms.statistical import Ets

    def endless(cls: type, panel: Any, context: Any) -> Any:
        return context.each(lambda series: time.sleep(60), panel.series)

    monkeypatch.setattr(Ets, "fit", classmethod(endless))
    monkeypatch.setattr(isolation, "GRACE", 0.1)
    uri = bucket.put("in/d.csv", weekly(1))
    limits = {"CompletionCriteria": {"MaxRuntimePerTrainingJobInSeconds": 1}}
    assert killed_in_time(jobs.train(problem("ets", **limits), [channel(uri)]), 1)
    # Without a limit of its own a candidate has its share of the job's time.
    monkeypatch.setattr(Course, "for_candidate", lambda self, waiting: Clock(0.5 if waiting == 2 else None))
    events = jobs.train(problem(*QUICK), [channel(uri)])
    assert events[-1]["secondary"] == "Completed"
    stopped = labels(events)["ets"]
    assert stopped["CandidateStatus"] == "Stopped"
    assert "its share of the job's time" in stopped["FailureReason"]


def test_every_algorithm_is_returned_from_the_process_that_trained_it(jobs: Jobs, bucket: Bucket) -> None:
    uri = bucket.put("in/d.csv", weekly(2))
    limits = {"CompletionCriteria": {"MaxRuntimePerTrainingJobInSeconds": 120}}
    events = jobs.train(problem(*base.available(base.ALGORITHMS)[0], **limits), [channel(uri)])
    assert {entry["CandidateStatus"] for entry in labels(events).values()} == {"Completed"}
    assert events[-1]["secondary"] == "Completed"


def test_an_objective_that_the_data_leaves_undefined_fails_the_job(jobs: Jobs, bucket: Bucket) -> None:
    uri = bucket.put("in/d.csv", weekly(1).assign(y=3))
    objective = {"request": {"AutoMLJobObjective": {"MetricName": "MASE"}}}
    assert "MASE is undefined" in failure(jobs.train(problem("npts"), [channel(uri)], **objective))
    events = jobs.train(problem(*QUICK), [channel(uri)])
    assert candidate_metrics(labels(events)["npts"])["AverageWeightedQuantileLoss"] == 0


def test_a_model_that_is_not_better_than_the_naive_one_is_reported(jobs: Jobs, bucket: Bucket) -> None:
    # The same week repeated: no model is better than repeating it.
    uri = bucket.put("in/d.csv", weekly(2, 70, noise=0))
    events = jobs.train(problem("npts"), [channel(uri)])
    (candidate,) = training.candidates(events).values()
    location = candidate["CandidateProperties"]["CandidateArtifactLocations"]["ModelInsights"]
    verdict = json.loads(bucket.read(f"{location}/statistics.json"))["forecast_metrics"]["verdict"]
    assert verdict.startswith("Not better than the seasonal naive forecast")


def test_the_ensemble_is_never_worse_than_a_baseline(jobs: Jobs, bucket: Bucket) -> None:
    # Nothing but noise, and a week that repeats itself exactly.
    random = np.random.default_rng(5)
    rows = weekly(4, 70, noise=0)
    noisy = rows["item"].isin(["item 0", "item 1"])
    rows.loc[noisy, "y"] = 1000 + random.normal(size=140)
    uri = bucket.put("in/d.csv", rows)
    events = jobs.train(problem(*QUICK), [channel(uri)])
    ensemble = labels(events)["ensemble"]
    location = ensemble["CandidateProperties"]["CandidateArtifactLocations"]["BacktestResults"]
    summary = json.loads(bucket.read(f"{location}/summary.json"))
    loss = "AverageWeightedQuantileLoss"
    assert summary["metrics"][loss] <= summary["seasonal_naive"][loss]
    assert set(summary["weights"]) & set(base.BASELINES)


def test_columns_may_have_the_names_of_the_results(jobs: Jobs, bucket: Bucket) -> None:
    frame = weekly(1, 40).rename(columns={"y": "p50", "item": "window"})
    columns = {"TargetAttributeName": "p50", "ItemIdentifierAttributeName": "window"}
    events = jobs.train(problem("npts", TimeSeriesConfig=columns), [channel(bucket.put("in/d.csv", frame))])
    location = labels(events)["npts"]["CandidateProperties"]["CandidateArtifactLocations"]["BacktestResults"]
    header = bucket.read(f"{location}/predictions.csv").decode().partition("\n")[0]
    assert header == "backtest:window,window,ts,backtest:p50,p10,p50,p90,mean"


def test_a_series_of_zeros_at_its_end_is_measured_by_its_history(jobs: Jobs, bucket: Bucket) -> None:
    frame = weekly(1, 60)
    frame["y"] = [float(day % 9 == 0) if day < 40 else 0.0 for day in range(60)]
    events = jobs.train(problem(*QUICK, horizon=5), [channel(bucket.put("in/d.csv", frame))])
    assert {entry["CandidateStatus"] for entry in labels(events).values()} == {"Completed"}


def test_a_history_without_two_seasons_has_a_scaled_error(jobs: Jobs, bucket: Bucket) -> None:
    frame = weekly(1, 48).assign(ts=pd.date_range("2024-01-01", periods=48, freq="7D").strftime("%Y-%m-%d"))
    objective = {"request": {"AutoMLJobObjective": {"MetricName": "MASE"}}}
    asked = problem("npts", horizon=4, frequency="1W")
    assert jobs.train(asked, [channel(bucket.put("in/d.csv", frame))], **objective)[-1]["secondary"] == "Completed"


@pytest.mark.parametrize("step", ["fit", "forecast"])
def test_a_member_for_which_there_is_no_time_is_left_out(
    jobs: Jobs, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def late(*_: Any) -> None:
        raise TimeIsUp

    monkeypatch.setattr(Decomposition, step, late)
    ensemble = labels(jobs.train(problem(*QUICK), [channel(bucket.put("in/d.csv", weekly(2, 40)))]))["ensemble"]
    assert ensemble["CandidateStatus"] == "Completed"


def test_thousands_of_items_are_trained_together(jobs: Jobs, bucket: Bucket) -> None:
    random = np.random.default_rng(0)
    items, days = 3000, 28
    frame = pd.DataFrame(
        {
            "item": np.repeat(np.arange(items), days),
            "ts": np.tile(pd.date_range("2024-01-01", periods=days).strftime("%Y-%m-%d"), items),
            "y": random.poisson(5, items * days),
        }
    )
    events = jobs.train(problem("npts"), [channel(bucket.put("in/d.csv", frame))])
    (candidate,) = training.candidates(events).values()
    location = candidate["CandidateProperties"]["CandidateArtifactLocations"]["BacktestResults"]
    summary = json.loads(bucket.read(f"{location}/summary.json"))
    assert summary["data"]["items"] == 3000
    # Measured on a sample of them.
    assert [window["items"] for window in summary["windows"]] == [333] * 3
