"""State of a service without its processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_automl.local.state.database import Database
from airflow_automl.local.state.jobs import JobStore
from airflow_automl.local.state.resources import ResourceStore


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database(tmp_path / "state.db")
    yield found
    found.close()


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return JobStore(database)


@pytest.fixture
def resources(database: Database) -> ResourceStore:
    return ResourceStore(database)
