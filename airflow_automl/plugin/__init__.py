"""The AutoML pages in Airflow's web interface.

Airflow loads this module in every one of its processes, so it imports nothing that is not there already. The pages
themselves (:mod:`airflow_automl.plugin.app`) are built when the API server asks for them, and what talks to AWS is
imported when the first page is opened. Airflow 3.0 shows no pages of plugins.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from airflow_automl.compat import HAS_PAGES

__all__ = ["PREFIX", "AutoMLPlugin"]

#: Path of the pages, below that of ``[api] base_url``.
PREFIX = "/automl"

_ROOT = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")


def _view(destination: str, page: str) -> dict[str, Any]:
    return {
        "name": "AutoML",
        "destination": destination,
        "url_route": "automl" if destination == "nav" else f"automl-{destination.replace('_', '-')}",
        "href": f"{_ROOT}{PREFIX}{page}",
        "icon": f"{_ROOT}{PREFIX}/static/icon.svg",
        "icon_dark_mode": f"{_ROOT}{PREFIX}/static/icon-dark.svg",
    }


class AutoMLPlugin(AirflowPlugin):
    """A page in the navigation, and a tab on the pages of DAGs, runs, tasks and task instances."""

    name = "airflow_automl"
    external_views = [
        {**_view("nav", "/jobs"), "nav_top_level": True},
        _view("dag", "/dag?dag_id={DAG_ID}"),
        _view("dag_run", "/run?dag_id={DAG_ID}&run_id={RUN_ID}"),
        _view("task", "/task?dag_id={DAG_ID}&task_id={TASK_ID}"),
        _view(
            "task_instance",
            "/task-instance?dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}",
        ),
    ] * HAS_PAGES

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The pages; only the API server reads this."""
        if not HAS_PAGES:
            return []
        from airflow_automl.plugin.app import create_app

        return [{"name": "AutoML", "url_prefix": PREFIX, "app": create_app()}]
