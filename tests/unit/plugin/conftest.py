"""The API server with the pages in it, in this process; a stand-in for SageMaker; and users of several roles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from airflow.sdk import DAG
from fastapi.testclient import TestClient

from airflow_automl import settings
from airflow_automl.compat import AIRFLOW
from airflow_automl.contract import tabular
from airflow_automl.operators import SageMakerAutoMLJobOperator
from tests.standin import ENDLESS, StandIn, connection, serve

Browser = Callable[[str | None], TestClient]

SECRET = "not-for-anybodys-eyes"
CONFIG = tabular(
    "s3://data/train/",
    target="y",
    output="s3://out/",
    role="arn:aws:iam::123456789012:role/automl",
    mode="ENSEMBLING",
    max_runtime=3600,
)


@pytest.fixture(scope="session")
def sagemaker() -> Iterator[StandIn]:
    """A stand-in for SageMaker behind the connection ``aws_default``, whose secrets must never be shown."""
    with serve() as stand_in, pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "AIRFLOW_CONN_AWS_DEFAULT",
            connection(stand_in.url).replace('"password": "test"', f'"password": "{SECRET}"'),
        )
        patch.setenv("AIRFLOW_CONN_DEAD", connection("http://127.0.0.1:9"))
        yield stand_in


class World:
    """Jobs of two DAGs, and one that belongs to none."""

    def __init__(self, sagemaker: StandIn, run_dag: Any) -> None:
        self.sagemaker = sagemaker
        settings: dict[str, Any] = {"task_id": "train", "poll_interval": 1, "deferrable": False}
        with DAG("churn", schedule=None) as churn:
            SageMakerAutoMLJobOperator(config=CONFIG, wait_for_completion=False, **settings)
        with DAG("countries", schedule=None) as countries:
            SageMakerAutoMLJobOperator.partial(**settings).expand(config=[CONFIG, CONFIG])
        sagemaker.plan = lambda request: ENDLESS
        self.churn = str(run_dag(churn).run_id)
        self.running = self._newest()
        sagemaker.plan = StandIn().plan
        self.countries = str(run_dag(countries).run_id)
        self.foreign = "of-no-dag"
        sagemaker.add_job(self.foreign, ENDLESS)

    def _newest(self) -> str:
        return list(self.sagemaker.jobs.values())[-1].name

    def pages(self) -> dict[str, str]:
        """The address of every kind of page, those of DAG ``churn`` where they belong to one."""
        churn = {"dag_id": "churn", "run_id": self.churn, "task_id": "train"}
        return {
            "jobs": page("jobs"),
            "job": page("job", name=self.running),
            "dag": page("dag", dag_id="churn"),
            "run": page("run", dag_id="churn", run_id=self.churn),
            "task": page("task", dag_id="churn", task_id="train"),
            "task-instance": page("task-instance", **churn, map_index="{MAP_INDEX}"),
            "report": page("report", name=self.running),
            "candidates": page("candidates", name=self.running, candidate=f"{self.running}-best"),
            "stop": page("stop", name=self.running),
            "start": page("start", name=self.running),
        }


def page(name: str, /, **query: str) -> str:
    """The address of a page."""
    return f"/automl/{name}?{urlencode(query)}"


@pytest.fixture(scope="session")
def world(sagemaker: StandIn, run_dag: Any) -> World:
    """Jobs of two DAGs that ran for real, and one that belongs to none."""
    return World(sagemaker, run_dag)


@pytest.fixture(scope="session")
def application(airflow_home: Any) -> Iterator[Any]:
    """The API server's application, with our plugin and no other."""
    from airflow import plugins_manager
    from airflow.api_fastapi.app import create_app, purge_cached_app

    from airflow_automl.plugin import AutoMLPlugin

    def forget() -> None:
        if AIRFLOW >= (3, 2):
            plugins_manager.get_fastapi_plugins.cache_clear()
        purge_cached_app()

    with pytest.MonkeyPatch.context() as patch:
        if AIRFLOW >= (3, 2):
            patch.setattr(plugins_manager, "_get_plugins", lambda: ([AutoMLPlugin()], {}))
        else:
            plugins_manager.integrate_macros_plugins()  # once for all tests, with every plugin
            patch.setattr(plugins_manager, "plugins", [AutoMLPlugin()])
            for name in ("fastapi_apps", "fastapi_root_middlewares"):
                patch.setattr(plugins_manager, name, None)
        forget()
        yield create_app("core")
    forget()


@pytest.fixture
def pages(application: Any) -> Any:
    """The pages' own application, with an empty memory; it waits as long as it takes."""
    from airflow_automl.plugin.account import Account
    from airflow_automl.plugin.answers import Answers
    from airflow_automl.plugin.known_jobs import KnownJobs

    app = next(route.app for route in application.routes if getattr(route, "path", "") == "/automl")
    app.state.account, app.state.known = Account(Answers(timeout=600.0)), KnownJobs()
    app.state.manual_dag = settings.manual_dag()
    return app


@pytest.fixture
def browser(application: Any, pages: Any, world: World) -> Iterator[Browser]:
    """A function that opens the API server as a user of a role; ``None`` is not logged in, ``"none"`` has no role."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    opened = []

    def open_as(role: str | None) -> TestClient:
        client = TestClient(application, base_url="http://localhost:8080", follow_redirects=False)
        if role is not None:
            user = SimpleAuthManagerUser(username=f"the {role}", role=None if role == "none" else role)
            client.cookies.set("_token", get_auth_manager().generate_jwt(user))
        opened.append(client)
        return client

    yield open_as
    for client in opened:
        client.close()
