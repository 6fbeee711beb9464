"""Clients that others wrote, unchanged, against the embedded Autopilot: each from upload to prediction."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.running import RunningService, clean_environment, real_service
from tools import clients

FLOWS = Path(__file__).parent / "flows"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with real_service(tmp_path_factory.mktemp("clients") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file with a header, whose last column is the target."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer(as_frame=True).frame.iloc[:, [0, 1, 2, 3, 4, -1]].sample(frac=1, random_state=1)
    path = tmp_path_factory.mktemp("given") / "train.csv"
    found.rename(columns=lambda name: name.replace(" ", "_")).to_csv(path, index=False)
    return path


def variables(service: RunningService, programs: Path) -> dict[str, str]:
    info = service.info
    return clean_environment() | {
        "AWS_ENDPOINT_URL": info.endpoint_url,
        "AWS_ENDPOINT_URL_S3": info.s3_endpoint_url,
        "AWS_ACCESS_KEY_ID": info.access_key_id,
        "AWS_SECRET_ACCESS_KEY": info.secret_access_key,
        "AWS_DEFAULT_REGION": "eu-central-1",
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
    }


def run(*command: str | Path, env: dict[str, str], folder: Path) -> None:
    done = subprocess.run(
        command, env=env, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize("name", ["sdk2", "sdk3", "files"])
def test_a_python_client_runs_unchanged(service: RunningService, data: Path, tmp_path: Path, name: str) -> None:
    programs = clients.environment(name)
    run(programs / "python", FLOWS / f"{name}.py", data, env=variables(service, programs), folder=tmp_path)


def test_the_cli_runs_unchanged(service: RunningService, data: Path, tmp_path: Path) -> None:
    programs = clients.environment("cli")
    run("bash", FLOWS / "cli.sh", data, tmp_path, env=variables(service, programs), folder=tmp_path)


def test_the_provider_s_operators_run_unchanged(service: RunningService, data: Path, tmp_path: Path) -> None:
    env = variables(service, Path(sys.executable).parent) | {
        "AIRFLOW_HOME": str(tmp_path),
        "PYTHONPATH": str(Path.cwd()),
    }
    run(sys.executable, FLOWS / "provider.py", data, env=env, folder=tmp_path)
