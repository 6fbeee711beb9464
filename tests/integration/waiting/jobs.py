"""The embedded service's side of a DAG run: the jobs that its tasks submitted."""

from __future__ import annotations

from typing import Any

from tests.integration.waiting.autopilot import Autopilot
from tests.integration.waiting.stack import Run

ENDLESS = "phases,candidate-60,wait"


class Jobs:
    """Finds jobs by the tags that name the DAG run they belong to.

    :param service: where they run.
    """

    def __init__(self, service: Autopilot) -> None:
        self._service = service
        self._runs: dict[str, str] = {}

    @property
    def client(self) -> Any:
        return self._service.client()

    def of(self, run: Run) -> list[dict[str, Any]]:
        """Describe a run's jobs, the oldest first."""
        client = self.client
        pages = client.get_paginator("list_auto_ml_jobs").paginate(SortBy="CreationTime", SortOrder="Ascending")
        found = []
        for job in (job for page in pages for job in page["AutoMLJobSummaries"]):
            name = job["AutoMLJobName"]
            if name not in self._runs:
                tags = {tag["Key"]: tag["Value"] for tag in client.list_tags(ResourceArn=job["AutoMLJobArn"])["Tags"]}
                self._runs[name] = f"{tags.get('airflow:dag_id')}/{tags.get('airflow:run_id')}"
            if self._runs[name] == "/".join(run):
                found.append(client.describe_auto_ml_job_v2(AutoMLJobName=name))
        return found

    def states(self, run: Run) -> list[str]:
        """The statuses of a run's jobs, the oldest first."""
        return [job["AutoMLJobStatus"] for job in self.of(run)]
