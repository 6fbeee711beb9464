"""Services that the integration tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ray_cluster import cluster
from tests.wire.autopilot import Autopilot, run_autopilot
from tests.wire.client import Wire


@pytest.fixture(scope="module", params=["local", pytest.param("ray", marks=pytest.mark.slow)])
def executor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Settings of a service that trains on this machine, or on a Ray cluster."""
    if request.param == "local":
        yield {}
        return
    file = tmp_path_factory.mktemp("executor") / "executor.toml"
    file.write_text("[executor]\ncores = 1\n")
    with cluster() as running:
        yield {"ray": running.address, "executor_file": str(file)}


@pytest.fixture(scope="session")
def idle_autopilot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Autopilot]:
    """An embedded Autopilot that accepts jobs and starts none."""
    with run_autopilot(tmp_path_factory.mktemp("idle"), max_jobs=0) as autopilot:
        yield autopilot


@pytest.fixture
def wire(idle_autopilot: Autopilot) -> Iterator[Wire]:
    """A raw connection to the idle Autopilot."""
    with Wire(idle_autopilot.url) as wire:
        yield wire
