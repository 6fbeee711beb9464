"""Make a job's report: one HTML page, and its content as JSON."""

from __future__ import annotations

import json
import logging
import posixpath
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from airflow_automl.exceptions import AutoMLError
from airflow_automl.links.sagemaker_automl import JOB_PAGE, REPORT_PAGE, AutoMLReportLink, page_url
from airflow_automl.operators._base import JobReader, document
from airflow_automl.xcom import SUMMARY_KEY

if TYPE_CHECKING:
    from airflow.sdk import Context


class SageMakerAutoMLReportOperator(JobReader):
    """Report on a job, however it ended: verdict, leaderboard, plots, timeline, failures, where everything lies.

    The page is complete in itself: it loads nothing, runs no script, follows the reader's light or dark mode, and can
    be printed. With ``trigger_rule="all_done"`` it is made of failed and stopped jobs too, because a job's document is
    in XCom from its submission on. It is compared with the report of this task's previous run.

    Operations: DescribeAutoMLJobV2 (V1 as fallback), ListCandidatesForAutoMLJob, ListTags; GetObject and ListBucket
    for the candidate's explainability report and model insights, PutObject where ``path`` lies in S3.

    :param job: the job's document, such as ``train.job`` (templated).
    :param job_name: the name of an AutoML job (V1 or V2), instead of ``job`` (templated).
    :param decision: what :class:`~airflow_automl.operators.SageMakerAutoMLRetrainOperator` decided (templated). If
        there is no job because the model is kept, the page says why.
    :param path: a folder or a file ending in ``.html``, in S3, on disk, or wherever Airflow's object storage reaches
        (templated). In a folder the page is called ``report.html``; the JSON lies beside it.
    :param path_conn_id: the connection for ``path``; default: ``aws_conn_id`` for S3.
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.
    :return: the address of the page. XCom ``summary`` has the job's and its best candidate's names, the objective and
        its value, all metrics, times, counts, and the addresses ``html`` and ``json``.
    :raises AutoMLJobNotFound: there is no such job.
    :raises AutoMLValidationError: neither ``job`` nor ``job_name`` names a job.
    """

    template_fields = (*JobReader.template_fields, "decision", "path", "path_conn_id")
    ui_color = "#e1d5e7"
    operator_extra_links = (AutoMLReportLink(),)
    report_url: str | None = None

    def __init__(
        self,
        *,
        path: str,
        decision: Any = None,
        path_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.decision = decision
        self.path_conn_id = path_conn_id

    def execute(self, context: Context) -> str:
        """Ask the service, render, write; return where the page lies."""
        from airflow_automl.contract import documents
        from airflow_automl.hooks.storage import Storage
        from airflow_automl.report import build, render
        from airflow_automl.report.insights import read

        job = document(self.job, "job") or {}
        name = self.job_name or job.get("name")
        if not name:
            return self._report_no_job(context, job)
        describe = self.hook.describe_job(name)
        storage = Storage(self.hook)
        report = build(
            describe,
            self._candidates(name),
            tags=self.hook.read_tags(describe["AutoMLJobArn"]) or job.get("tags"),
            insights=read(
                documents.best_candidate(describe),
                storage.find,
                storage.read,
                documents.problem_type(describe),
            ),
            run=_run(context),
            previous=self._previous(context),
            timeline=job.get("timeline"),
        )
        html, beside = self._addresses()
        self._write(html, render(report))
        self._write(beside, json.dumps(report, indent=2, ensure_ascii=False))
        context["ti"].xcom_push(key=SUMMARY_KEY, value={**report["summary"], "html": html, "json": beside})
        self.log.info("%s: %s", report["verdict"]["title"], report["verdict"]["sentence"])
        self.log.info("The report is at %s", html)
        self._link(html, name)
        return html

    def _report_no_job(self, context: Context, refusal: Mapping[str, Any]) -> str:
        """Write a page that says why there is no job."""
        decision = document(self.decision, "decision") or {}
        kept = decision.get("train") is False
        title = "The deployed model is kept" if kept else "No AutoML job was submitted"
        refusal = {"reason": decision["reason"]} if kept else refusal
        reason = refusal.get("reason") or "The task that should have submitted it ended early: see its log."
        shown = refusal.get("violations") or [reason]
        items = "".join(f"<li><code>{escape(str(each))}</code></li>" for each in shown)
        html, beside = self._addresses()
        self._write(html, f"<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1><ul>{items}</ul>")
        self._write(beside, json.dumps({"schema_version": 1, "job": None, "run": _run(context), **refusal}, indent=2))
        self.log.log(logging.INFO if kept else logging.WARNING, "%s: %s", title, reason)
        return html

    def _previous(self, context: Context) -> dict[str, Any] | None:
        """Return the summary of this task's last run before this one."""
        ti = context["ti"]
        wanted: dict[str, Any] = {"task_ids": self.task_id, "key": SUMMARY_KEY, "include_prior_dates": True}
        # Airflow logs an error when a single XCom is not there, as on every first run; a list may be empty.
        if not ti.xcom_pull(**wanted):
            return None
        summary = ti.xcom_pull(**wanted, map_indexes=ti.map_index)
        return summary if isinstance(summary, dict) else None

    def _candidates(self, name: str) -> list[dict[str, Any]]:
        try:
            return list(self.hook.list_candidates(name))
        except AutoMLError as error:
            # A report with the best candidate alone is better than none.
            self.log.warning("The candidates of %s can't be listed: %s", name, error)
            return []

    def _addresses(self) -> tuple[str, str]:
        if self.path.endswith(".html"):
            return self.path, f"{self.path.removesuffix('.html')}.json"
        folder = self.path if self.path.endswith("/") else f"{self.path}/"
        return posixpath.join(folder, "report.html"), posixpath.join(folder, "report.json")

    def _write(self, address: str, content: str) -> None:
        from airflow_automl.hooks.storage import Storage

        Storage(self.hook, self.path_conn_id).write(address, content.encode())

    def _link(self, address: str, job_name: str) -> None:
        """Note where a browser finds the page.

        A page of Airflow serves what is in S3. No browser reaches a worker's disk: Airflow's page of the
        job shows the same, and says where the report lies.
        """
        if address.startswith(("http://", "https://")):
            self.report_url = address
        else:
            page = REPORT_PAGE if address.startswith("s3://") else JOB_PAGE
            self.report_url = page_url(page, job_name, self.aws_conn_id, self.region_name)


def _run(context: Mapping[str, Any]) -> dict[str, Any]:
    ti, dag_run = context["ti"], context.get("dag_run")
    logical_date = getattr(dag_run, "logical_date", None)
    return {
        "dag_id": ti.dag_id,
        "run_id": ti.run_id,
        "task_id": ti.task_id,
        "logical_date": logical_date.isoformat() if logical_date else None,
    }
