"""Requests that CreateModel accepts and refuses, called directly."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_automl.local.api import OPERATIONS
from airflow_automl.local.errors import ServiceError
from airflow_automl.local.state.database import Database
from airflow_automl.local.state.resources import ResourceStore
from airflow_automl.local.training.engines.candidates import image
from airflow_automl.local.training.engines.tabular.tuning.search import ALGORITHMS


@pytest.fixture
def backend(database: Database) -> Any:
    return SimpleNamespace(resources=ResourceStore(database), arn=lambda kind, name: f"arn:{kind}/{name}")


@pytest.mark.parametrize("name", ["sklearn-automl", *ALGORITHMS])
@pytest.mark.parametrize("listed", [True, False])
def test_a_part_of_a_pipeline_is_not_a_model(backend: Any, name: str, listed: bool) -> None:
    part = {"Image": image(name), "ModelDataUrl": "s3://b/model.tar.gz"}
    given = {"Containers": [part]} if listed else {"PrimaryContainer": part}
    with pytest.raises(ServiceError, match="Give all of the candidate's InferenceContainers"):
        OPERATIONS["CreateModel"](backend, {"ModelName": "part", **given})
    assert backend.resources.find("model", "part") is None


def test_a_whole_pipeline_and_a_single_container_are_models(backend: Any) -> None:
    pipeline = [{"Image": image(name)} for name in ("sklearn-automl", "xgboost", "sklearn-automl")]
    for name, given in (
        ("pipeline", {"Containers": pipeline}),
        ("single", {"PrimaryContainer": {"Image": image("autogluon")}}),
    ):
        assert OPERATIONS["CreateModel"](backend, {"ModelName": name, **given})["ModelArn"] == f"arn:model/{name}"
