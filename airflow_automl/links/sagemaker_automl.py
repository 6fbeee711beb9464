"""Where AWS's console shows what an AutoML job does.

The console has no page for one AutoML job outside of SageMaker Studio; the jobs that it starts are listed there, and
carry the first ten characters of its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote, urlencode

from airflow.sdk import BaseOperatorLink

from airflow_automl.naming import CHILD_PREFIX

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

JOB_PAGE = "/automl/job?"
#: The page that serves the report on a job.
REPORT_PAGE = "/automl/report?"

_DOMAINS = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}


def console_links(arn: str, job_name: str) -> dict[str, str]:
    """Return where AWS's console shows a job, by title; empty for an ARN or a partition that is not known.

    ``SageMaker console`` lists training jobs; ``CloudWatch logs`` shows what those of the job log.
    """
    _, partition, _, region, *_ = (*arn.split(":"), "", "", "")
    if partition not in _DOMAINS:
        return {}
    group = quote(quote("/aws/sagemaker/TrainingJobs", safe=""), safe="").replace("%", "$")
    prefix = quote(f"?logStreamNameFilter={job_name[:CHILD_PREFIX]}", safe="").replace("%", "$")
    home = f"https://{region}.{_DOMAINS[partition]}/{{}}/home?region={region}"
    return {
        "SageMaker console": f"{home.format('sagemaker')}#/jobs",
        "CloudWatch logs": f"{home.format('cloudwatch')}#logsV2:log-groups/log-group/{group}{prefix}",
    }


def page_url(page: str, job_name: str, aws_conn_id: str | None, region_name: str | None) -> str:
    """Return a page about a job in Airflow's web interface; empty where ``[api] base_url`` is not set."""
    from airflow.configuration import conf

    base = str(conf.get("api", "base_url", fallback="") or "").rstrip("/")
    # In the address, an empty connection means the default one, and a hyphen boto3's own credentials.
    query = {"name": job_name, "connection": aws_conn_id or "-", "region": region_name}
    return f"{base}{page}{urlencode({key: value for key, value in query.items() if value})}" if base else ""


class _NotedLink(BaseOperatorLink):
    attribute: ClassVar[str]

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return what the task has noted; empty before, and if there is nothing to link to."""
        return str(getattr(operator, self.attribute, None) or "")


class AutoMLReportLink(_NotedLink):
    """Where a job's report can be read; of one that no browser can reach, the job's page in Airflow."""

    name = "AutoML report"
    attribute = "report_url"


class AutoMLJobConsoleLink(_NotedLink):
    """SageMaker's console, in the job's region."""

    name = "SageMaker console"
    attribute = "console_url"


class AutoMLJobLogsLink(_NotedLink):
    """CloudWatch, filtered for the job's training jobs."""

    name = "CloudWatch logs"
    attribute = "logs_url"
