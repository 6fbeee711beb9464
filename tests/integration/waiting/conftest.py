"""One Airflow and one embedded service for all tests of this folder: they start slowly and manage many runs at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.waiting.autopilot import Autopilot, autopilot
from tests.integration.waiting.stack import FullAirflow, full_airflow
from tests.integration.waiting.statsd import Received, statsd
from tests.standin import StandIn, connection, serve


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Autopilot]:
    with autopilot(tmp_path_factory.mktemp("waiting-autopilot") / "data") as service:
        yield service


@pytest.fixture(scope="session")
def metrics() -> Iterator[Received]:
    with statsd() as received:
        yield received


@pytest.fixture(scope="session")
def account() -> Iterator[StandIn]:
    """A stand-in whose jobs only take time, behind the connection ``account``."""
    with serve() as account:
        yield account


@pytest.fixture(scope="session")
def lineage_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lineage") / "events.jsonl"


@pytest.fixture(scope="session")
def airflow(
    tmp_path_factory: pytest.TempPathFactory,
    airflow_home: Path,
    service: Autopilot,
    metrics: Received,
    lineage_file: Path,
    account: StandIn,
) -> Iterator[FullAirflow]:
    folder = tmp_path_factory.mktemp("waiting-airflow")
    overrides = {
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(metrics.port),
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
            {"type": "file", "log_file_path": str(lineage_file), "append": True}
        ),
        # Short enough to notice a crash soon, long enough not to mistake a slow machine for one.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "120",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    }
    with full_airflow(
        folder,
        {"aws_default": connection(service.url), "account": connection(account.url)},
        migrated=airflow_home / "migrated.db",
        overrides=overrides,
    ) as airflow:
        yield airflow
