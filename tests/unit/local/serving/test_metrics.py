"""Metrics of endpoint variants on the command line and in CloudWatch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from airflow_automl.cli import main
from airflow_automl.local.errors import ServiceError, in_use
from airflow_automl.local.serving import metrics as metrics_module
from airflow_automl.local.serving.endpoints import ENDPOINT
from airflow_automl.local.serving.invocations import Runtime
from airflow_automl.local.serving.metrics import Metrics, Sums
from airflow_automl.local.serving.model_pool import BusyError
from airflow_automl.local.state.database import Database
from airflow_automl.local.state.resources import ResourceStore


@pytest.fixture
def minute(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [600.0]
    monkeypatch.setattr(metrics_module.time, "time", lambda: now[0])
    return now


def test_a_minute_has_sums_that_are_taken_once(tmp_path: Path, minute: list[float]) -> None:
    metrics = Metrics(tmp_path / "endpoints.json")
    for status, seconds in ((200, 0.5), (400, 0.25), (500, 1.0)):
        metrics.invoked("churn/all", status, seconds)
    metrics.batched("churn/all", 3)
    metrics.batched("transform-job:score", 3)
    minute[0] = 719.0
    metrics.invoked("churn/all", 200, 2.0)
    found = {(at, name): sums for at, owner, name, sums in metrics.take() if owner == "churn/all"}
    assert found[600, "Invocations"] == Sums(3, 3, 1, 1, Counter({1: 3}))
    assert found[600, "Invocation4XXErrors"] == found[600, "Invocation5XXErrors"]
    assert found[600, "Invocation5XXErrors"] == Sums(3, 1, 0, 1, Counter({0: 2, 1: 1}))
    assert found[600, "InvocationModelErrors"] == Sums(3, 2, 0, 1, Counter({0: 1, 1: 2}))
    assert found[600, "ModelLatency"] == Sums(3, 1.75e6, 0.25e6, 1e6, Counter({0.25e6: 1, 0.5e6: 1, 1e6: 1}))
    assert found[600, "BatchSize"] == Sums(1, 3, 3, 3, Counter({3: 1}))
    assert found[660, "Invocations"] == Sums(1, 1, 1, 1, Counter({1: 1}))
    assert metrics.take() == []


def test_answers_that_are_not_fetched_are_deleted_after_three_hours(tmp_path: Path, minute: list[float]) -> None:
    metrics = Metrics(tmp_path / "endpoints.json")
    for _ in range(400):
        metrics.invoked("churn/all", 200, 0.1)
        minute[0] += 60
    assert len({at for at, *_ in metrics.take()}) == 180


async def test_a_request_that_never_reached_the_model_is_an_error_of_the_endpoint_alone(
    tmp_path: Path, resources: ResourceStore
) -> None:
    class Host:
        async def invoke(self, *_: Any, **__: Any) -> Any:
            raise BusyError("1024 requests wait")

    metrics = Metrics(tmp_path / "endpoints.json")
    variant = {"VariantName": "all", "Containers": [], "Count": 1}
    resources.add(ENDPOINT, "churn", "arn:churn", {"Variants": [variant]}, taken=in_use("taken"), status="InService")
    runtime: Any = Runtime(resources, Host(), metrics)  # type: ignore[arg-type]
    with pytest.raises(ServiceError, match="1024 requests wait"):
        await runtime.invoke("churn", {}, b"1,2")
    found = {name: sums.total for _, _, name, sums in metrics.take()}
    assert found == {"Invocations": 1, "Invocation4XXErrors": 0, "Invocation5XXErrors": 1}


def test_percentiles_need_little_memory_and_are_near() -> None:
    sums = Sums()
    for number in range(1, 10_001):
        sums.add(number / 7)
    assert len(sums.buckets) < 400
    for percentile in ("p1", "p50", "p90", "p99", "p99.9"):
        assert sums.statistic(percentile) == pytest.approx(float(percentile[1:]) * 100 / 7, rel=0.05)
    assert (sums.statistic("p0"), sums.statistic("p100")) == (1 / 7, 10_000 / 7)


async def test_jobs_shows_what_each_variant_did_also_after_a_restart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Database(tmp_path / "state.db").close()
    for _ in range(2):
        metrics = Metrics(tmp_path / "endpoints.json")
        for number in range(1, 101):
            metrics.invoked("churn/all", 200 if number > 3 else 400, number / 1e3)
        metrics.batched("churn/all", 7)
        await metrics.write()
    assert main(["jobs", "--data-dir", str(tmp_path), "--endpoints"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["VARIANT", "INVOCATIONS", "4XX", "5XX", "P50", "MS", "P99", "MS", "BATCHES", "LARGEST"]
    assert row.split() == ["churn/all", "200", "6", "0", "50", "99", "2", "7"]
