"""`airflow-automl local --check` on a real Ray cluster that demands a token."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ray_cluster import cluster
from tests.service.running import clean_environment, real_service

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Where a service runs, and on which cluster."""
    folder = tmp_path_factory.mktemp("check")
    (folder / "executor.toml").write_text('[executor]\ncores = 1\nmemory = "200M"\n')
    with cluster(workers=1) as nodes:
        arguments = ["--executor", "ray", "--ray-address", nodes.address]
        with real_service(folder / "data", *arguments, "--executor-file", str(folder / "executor.toml")):
            yield [*arguments, "--data-dir", str(folder / "data"), "--executor-file", str(folder / "executor.toml")]


def check(*options: str, **variables: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "airflow_automl.cli", "local", "--check", *options]
    environment = {**clean_environment(), **variables}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_good_cluster_has_no_problem(options: list[str]) -> None:
    code, said = check(*options)
    assert code == 0, said
    assert said.count("reaches the S3 store") == 2
    assert "1 of 2 nodes have that" in said
    assert "0 problems" in said


def test_a_wrong_token_is_named(options: list[str]) -> None:
    code, said = check(*options, RAY_AUTH_TOKEN="f" * 32)
    assert code == 1
    assert "PROBLEM token" in said
    assert "RAY_AUTH_TOKEN" in said


def test_a_store_out_of_reach_and_jobs_without_room_are_named(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "big.toml").write_text("[executor]\ncores = 1\n[executor.TextGenerationJobConfig]\ngpus = 1\n")
    closed = ["--s3-endpoint", "http://127.0.0.1:9", "--executor-file", str(tmp_path / "big.toml")]
    code, said = check(*options, *closed)
    assert code == 1
    assert said.count("can't use the S3 store: EndpointConnectionError") == 2
    assert "TextGenerationJobConfig needs 1 cores" in said
    assert "0 of 2 nodes" in said
