"""A job's leaderboard as XCom."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from airflow_automl.contract import documents, metrics
from airflow_automl.exceptions import AutoMLJobNotFound
from airflow_automl.operators._base import JobReader, whole_number

if TYPE_CHECKING:
    from airflow.sdk import Context


class SageMakerAutoMLCandidatesOperator(JobReader):
    """List a job's candidates, best first, for tasks that are mapped over them.

    ``SageMakerAutoMLTransformOperator.partial(…).expand(candidate=leaderboard.output)`` scores with each of them.

    Operations: ListCandidatesForAutoMLJob.

    :param job: the job's document, such as ``train.job`` (templated).
    :param job_name: the name of an AutoML job (V1 or V2), instead of ``job`` (templated).
    :param limit: return the best ones only. Airflow maps over at most 1,024 items by default.
    :param completed_only: leave out candidates that failed, were stopped or are still training.
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.
    :return: the candidates' documents in AWS's own keys, times as ISO-8601 strings; those without a score come last.
    :raises AutoMLJobNotFound: there is no such job.
    """

    template_fields = (*JobReader.template_fields, "limit")
    ui_color = "#dae8fc"

    def __init__(
        self,
        *,
        limit: int | str | None = None,
        completed_only: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.limit = limit
        self.completed_only = completed_only

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Ask the service and sort."""
        name = self.name_of_job()
        if not name:
            raise AutoMLJobNotFound("no job was submitted, so there are no candidates to list")
        listed = [documents.json_safe(candidate) for candidate in self.hook.list_candidates(name)]
        if self.completed_only:
            listed = [candidate for candidate in listed if candidate.get("CandidateStatus") == "Completed"]
        listed.sort(key=lambda candidate: metrics.rank(candidate) or (math.inf,) * 3)
        self.log.info("Job %s has %d candidates", name, len(listed))
        return listed[: whole_number(self.limit, "limit")]
