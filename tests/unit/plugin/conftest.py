"""The API server with the pages in it, in this process; a stand-in for SageMaker; and users of several roles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.sdk import DAG
from fastapi.testclient import TestClient

from airflow_automl.contract import tabular
from airflow_automl.operators import SageMakerAutoMLJobOperator

Browser = Callable[[str | None], TestClient]


@pytest.fixture(scope="session")
def application(airflow_home: Any) -> Iterator[Any]:
    """The API server's application, with our plugin and no other."""
    from airflow import plugins_manager
    from airflow.api_fastapi.app import create_app, purge_cached_app

    from airflow_automl.plugin import AutoMLPlugin

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins_manager, "_get_plugins", lambda: ([AutoMLPlugin()], {}))
        plugins_manager.get_fastapi_plugins.cache_clear()
        purge_cached_app()
        yield create_app("core")
    plugins_manager.get_fastapi_plugins.cache_clear()
    purge_cached_app()


@pytest.fixture
def pages(application: Any) -> Any:
    """The pages' own application, with an empty memory."""
    from airflow_automl.plugin.account import Account
    from airflow_automl.plugin.known import KnownJobs

    app = next(route.app for route in application.routes if getattr(route, "path", "") == "/automl")
    app.state.account, app.state.known = Account(), KnownJobs()
    return app


@pytest.fixture
def browser(application: Any, pages: Any) -> Iterator[Browser]:
    """A function that opens the API server as a user of a role; ``None`` is nobody, ``"none"`` a user without one."""
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


def trained(run_dag: Any, dag_id: str, count: int = 1, **config: Any) -> Any:
    """Run a DAG that trains, mapped if ``count`` is more than 1, and return its run."""
    problem = {"target": "y", "objective": "AUC", "problem_type": "BinaryClassification", **config}
    request = tabular("s3://data/train/", output="s3://out/", role="arn:aws:iam::123456789012:role/automl", **problem)
    with DAG(dag_id, schedule=None) as dag:
        if count == 1:
            SageMakerAutoMLJobOperator(task_id="train", config=request, poll_interval=1, deferrable=False)
        else:
            SageMakerAutoMLJobOperator.partial(task_id="train", poll_interval=1, deferrable=False).expand(
                config=[request] * count
            )
    return run_dag(dag)
