"""What all tests share: an Airflow of their own, and a way to run a DAG in it."""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest_plugins = ("tests.aws_calls",)

# Airflow reads its home when it is first imported, which is before any fixture runs.
_HOME = tempfile.TemporaryDirectory(prefix="airflow-automl-tests-", ignore_cleanup_errors=True)
os.environ["AIRFLOW_HOME"] = _HOME.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(Path(_HOME.name, "dags"))
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{_HOME.name}/airflow.db"
os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "INFO"
for _name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[_name]


@pytest.fixture(scope="session", autouse=True)
def clients_are_made_quickly() -> Iterator[None]:
    """Cache work that a task does once per client, because the tests create thousands of clients.

    A session of botocore parses megabytes of JSON and lists the folders of all services; the amazon provider's hook
    reads the source of every function on the stack to name its caller in the user agent.
    """
    from airflow.providers.amazon.aws.hooks import base_aws
    from botocore.loaders import JSONFileLoader, Loader

    read = functools.cache(JSONFileLoader().load_file)
    listed: dict[tuple[str, ...], list[str]] = {}
    list_services = Loader.list_available_services

    def list_once(self: Loader, type_name: str) -> list[str]:
        key = (type_name, *self.search_paths)
        if key not in listed:
            listed[key] = list_services(self, type_name)
        return listed[key]

    def stack() -> list[inspect.FrameInfo]:
        frames = traceback.walk_stack(None)
        return [inspect.FrameInfo(frame, "", line, frame.f_code.co_name, None, None) for frame, line in frames]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _, file_path: read(file_path))
        patch.setattr(Loader, "list_available_services", list_once)
        patch.setattr(base_aws, "inspect", SimpleNamespace(stack=stack, isclass=inspect.isclass))
        yield


@pytest.fixture(scope="session", autouse=True)
def triggers_start_at_once() -> Iterator[None]:
    """Shorten the wait for the scheduler: in a single process, a trigger can't fire before the scheduler records it."""
    from airflow_automl.triggers import _base

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_base, "SHORTEST", 0.0)
        patch.setattr(_base, "LONGEST", 0.2)
        yield


@pytest.fixture(scope="session")
def airflow_home() -> Path:
    """The session's AIRFLOW_HOME, with a migrated SQLite database."""
    home = Path(_HOME.name)
    (home / "dags").mkdir(exist_ok=True)
    # Also if the file exists: on Airflow 3.0, an earlier test may have left an empty one.
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # A copy for tests that start another Airflow: tests write their DAGs to the database of this one.
    shutil.copy(home / "airflow.db", home / "migrated.db")
    return home


def register(dag: Any) -> None:
    """Write a DAG that is in no file to the database, as the DAG processor does."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.collection import update_dag_parsing_results_in_db
    from airflow.serialization.serialized_objects import LazyDeserializedDAG, SerializedDAG
    from airflow.settings import Session

    if hasattr(LazyDeserializedDAG, "from_dag"):  # since 3.1
        serialized = LazyDeserializedDAG.from_dag(dag)
    else:
        dag.relative_fileloc = Path(dag.fileloc).name  # set by the parser of a DAG file
        serialized = LazyDeserializedDAG(data=SerializedDAG.to_dict(dag))

    arguments = {
        "bundle_name": "dags-folder",
        "bundle_version": None,
        "dags": [serialized],
        "import_errors": {},
        "parse_duration": None,  # since 3.1
        "warnings": set(),
    }
    known = inspect.signature(update_dag_parsing_results_in_db).parameters
    with Session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)
        session.commit()
        update_dag_parsing_results_in_db(
            session=session, **{name: value for name, value in arguments.items() if name in known}
        )
        session.commit()


@pytest.fixture(scope="session")
def run_dag(airflow_home: Path) -> Callable[..., Any]:
    """Return a function that runs a DAG to its end in this process, as ``dag.test()`` does, and returns its run."""

    def run(dag: Any, **kwargs: Any) -> Any:
        register(dag)
        return dag.test(**kwargs)

    return run


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A stand-in for SageMaker's AutoML operations, behind the connection ``aws_default``."""
    from tests.standin import connection, serve

    with serve() as stand_in:
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", connection(stand_in.url))
        yield stand_in
