"""Addresses of the pages, and of Airflow's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from airflow_automl.plugin import PREFIX
from airflow_automl.plugin.account import Source
from airflow_automl.plugin.known_jobs import Owner


class Links:
    """Builds addresses below the path at which Airflow is served.

    :param root: the path at which the pages are mounted, from the request.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._airflow = root.removesuffix(PREFIX)

    def page(self, page: str, /, **query: Any) -> str:
        """Return the address of one of our pages; ``None`` and empty values are left out."""
        text = urlencode({key: value for key, value in query.items() if value not in (None, "")})
        return f"{self.root}/{page}{'?' if text else ''}{text}"

    def about(self, page: str, source: Source, name: str) -> str:
        """Return the address of a page about one job."""
        # An empty connection means boto3's own credentials, and is not the default.
        return self.page(page, name=name, connection=source.connection or "-", region=source.region)

    def report(self, summary: Mapping[str, Any], source: Source) -> str:
        """Return the address of the report of a summary for a browser; empty if there is none."""
        address = str(summary.get("html") or "")
        if address.startswith("s3://") and summary.get("job_name"):
            return self.about("report", source, str(summary["job_name"]))
        return address if address.startswith(("https://", "http://")) else ""

    def owner(self, owner: Owner) -> str:
        """Return Airflow's page of the task that owns a job, or of its DAG."""
        address = f"{self._airflow}/dags/{quote(owner.dag_id, safe='')}"
        if owner.run_id is None:
            return address
        address += f"/runs/{quote(owner.run_id, safe='')}"
        if owner.task_id is None:
            return address
        address += f"/tasks/{quote(owner.task_id, safe='')}"
        return f"{address}/mapped/{owner.map_index}" if owner.map_index >= 0 else address

    def run(self, dag_id: str, run_id: str) -> str:
        return self.owner(Owner(dag_id, run_id))

    def login(self) -> str:
        """Return where Airflow asks for a login."""
        return f"{self._airflow}/auth/login"
