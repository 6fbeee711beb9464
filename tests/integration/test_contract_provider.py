"""Clients without any code for this project work against the embedded Autopilot: the amazon provider's own hook."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.service.running import ROLE, RunningService, scripted_service


def _hook(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> Any:
    from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook

    connection = {
        "conn_type": "aws",
        "login": service.info.access_key_id,
        "password": service.info.secret_access_key,
        "extra": {"endpoint_url": service.url, "region_name": service.info.region},
    }
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    return SageMakerHook(aws_conn_id="aws_default")


def test_the_amazon_providers_hook_trains_and_gets_the_best_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_service(tmp_path / "service", max_jobs=1) as service:
        hook = _hook(service, monkeypatch)

        def train(name: str, script: str) -> Any:
            return hook.create_auto_ml_job(
                name, f"s3://automl/script/{script}", "y", "s3://automl/out/", ROLE, time_limit=60, check_interval=1
            )

        assert train("good", "phases,candidate-70,candidate-90,completed")["CandidateName"] == "good-2"
        with pytest.raises(Exception, match="column 'target' is not in the data"):
            train("bad", "phases,failed")
