"""What the variants of endpoints did, as the command line and CloudWatch show it."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_automl.cli import main
from airflow_automl.local.serving import metrics as metrics_module
from airflow_automl.local.serving.metrics import Metrics, Sums
from airflow_automl.local.state.database import Database


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
    assert found[600, "Invocations"] == Sums(3, 3, 1, 1)
    assert found[600, "Invocation4XXErrors"] == found[600, "Invocation5XXErrors"] == Sums(3, 1, 0, 1)
    assert found[600, "InvocationModelErrors"] == Sums(3, 2, 0, 1)
    assert found[600, "ModelLatency"] == Sums(3, 1.75e6, 0.25e6, 1e6)
    assert found[600, "BatchSize"] == Sums(1, 3, 3, 3)
    assert found[660, "Invocations"] == Sums(1, 1, 1, 1)
    assert metrics.take() == []


def test_answers_that_nobody_fetches_are_deleted_after_three_hours(tmp_path: Path, minute: list[float]) -> None:
    metrics = Metrics(tmp_path / "endpoints.json")
    for _ in range(400):
        metrics.invoked("churn/all", 200, 0.1)
        minute[0] += 60
    assert len({at for at, *_ in metrics.take()}) == 180


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
