"""Where trainers and model host search for weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_automl.local.models import weights
from airflow_automl.local.service import Service, Settings
from airflow_automl.local.state.folder import DataFolder


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(weights.MODEL_DIR, raising=False)
    monkeypatch.delenv(weights.CACHE_DIR, raising=False)
    monkeypatch.chdir(tmp_path)
    DataFolder(tmp_path / "data").prepare()

    def told(model_dir: Path | None = None) -> dict[str, str]:
        service = Service(Settings(data_dir=tmp_path / "data", s3_endpoint="http://127.0.0.1:9", model_dir=model_dir))
        try:
            return service._weights_environment()
        finally:
            service.database.close()
            service.others.close()

    return told


def test_converted_weights_lie_in_the_data_folder(environment, tmp_path):
    assert environment() == {weights.CACHE_DIR: str(tmp_path / "data/weights")}


def test_relative_folders_are_those_of_the_service(environment, tmp_path, monkeypatch):
    monkeypatch.setenv(weights.CACHE_DIR, "cache")
    monkeypatch.setenv(weights.MODEL_DIR, "models")
    assert environment() == {weights.CACHE_DIR: str(tmp_path / "cache"), weights.MODEL_DIR: str(tmp_path / "models")}
    assert environment(Path("mine"))[weights.MODEL_DIR] == str(tmp_path / "mine")
