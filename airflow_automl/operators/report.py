"""Make a job's report: one HTML page, and its content as JSON."""

from __future__ import annotations

import json
import logging
import posixpath
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_automl.exceptions import AutoMLError
from airflow_automl.links.sagemaker_automl import JOB_PAGE, REPORT_PAGE, AutoMLReportLink, page_url
from airflow_automl.operators._base import JobReader, document
from airflow_automl.xcom import HISTORY_KEY, RUN_KEY, SUMMARY_KEY

if TYPE_CHECKING:
    from airflow.sdk import Context


class SageMakerAutoMLReportOperator(JobReader):
    """Write a report on a job, whatever its outcome: verdict, leaderboard, plots, timeline, failures, artefacts.

    The page is complete in itself: it loads nothing, runs no script, follows the reader's light or dark mode, and can
    be printed. With ``trigger_rule="all_done"`` it reports failed and stopped jobs too, because a job's document is in
    XCom from its submission on. The job is compared with the report of this task's previous run.

    Operations: DescribeAutoMLJobV2 (V1 as fallback), ListCandidatesForAutoMLJob, ListTags; GetObject and ListBucket
    for the candidate's explainability report and model insights, PutObject if ``path`` is in S3.

    :param job: the job's document, such as ``train.job`` (templated).
    :param job_name: the name of an AutoML job (V1 or V2), instead of ``job`` (templated).
    :param decision: what :class:`~airflow_automl.operators.SageMakerAutoMLRetrainOperator` decided (templated). If
        there is no job because the model is kept, the page says why.
    :param evaluation: the evaluation of the deployed model in this run, for the history (templated).
    :param gate: the gate's decision, for the history (templated).
    :param deployment: what the deploy operator returned, for the history (templated).
    :param path: a folder or a file ending in ``.html``, in S3, on disk, or wherever Airflow's object storage reaches
        (templated). In a folder, the page is named ``report.html``; the JSON is beside it.
    :param path_conn_id: the connection for ``path``; default: ``aws_conn_id`` for S3.
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.
    :return: the address of the page. XCom ``summary`` has the job's and its best candidate's names, the objective and
        its value, all metrics, times, counts, the cost if there are prices, and the addresses ``html`` and ``json``.
        XCom ``history`` has an entry for each run of the DAG that had a report: its score, the deployed model's score,
        its result and its cost.
    :raises AutoMLJobNotFound: there is no such job.
    :raises AutoMLValidationError: neither ``job`` nor ``job_name`` names a job.
    """

    template_fields = (*JobReader.template_fields, "evaluation", "decision", "gate", "deployment", "path")
    ui_color = "#e1d5e7"
    operator_extra_links = (AutoMLReportLink(),)
    report_url: str | None = None

    def __init__(
        self,
        *,
        path: str,
        evaluation: Any = None,
        decision: Any = None,
        gate: Any = None,
        deployment: Any = None,
        path_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.evaluation = evaluation
        self.decision = decision
        self.gate = gate
        self.deployment = deployment
        self.path_conn_id = path_conn_id

    def execute(self, context: Context) -> str:
        """Write the report; return the address of the page."""
        from airflow_automl.contract import documents
        from airflow_automl.hooks.storage import Storage
        from airflow_automl.report import build, render
        from airflow_automl.report.insights import read

        job = document(self.job, "job") or {}
        name = self.job_name or job.get("name")
        if not name:
            return self._report_no_job(context, job)
        describe = self.hook.describe_job(name)
        storage, earlier = Storage(self.hook), self._earlier(context)
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
            previous=next((each["summary"] for each in reversed(earlier) if each["summary"]), None),
            timeline=job.get("timeline"),
            prices=self.hook.prices,
            queues=not self.hook.is_aws,
        )
        report["history"] = self._history(context, report["summary"], earlier)
        html, beside = self._addresses()
        self._write(html, render(report))
        self._write(beside, json.dumps(report, indent=2, ensure_ascii=False))
        context["ti"].xcom_push(key=SUMMARY_KEY, value={**report["summary"], "html": html, "json": beside})
        self.log.info("%s: %s", report["verdict"]["title"], report["verdict"]["sentence"])
        self.log.info("The report is at %s", html)
        self._link(html, name)
        return html

    def _report_no_job(self, context: Context, refusal: Mapping[str, Any]) -> str:
        from airflow_automl.report import history
        from airflow_automl.report.page import render_note

        decision = document(self.decision, "decision") or {}
        kept = decision.get("train") is False
        title = "The deployed model is kept" if kept else "No AutoML job was submitted"
        refusal = {"reason": decision["reason"]} if kept else refusal
        reason = refusal.get("reason") or "The task that should have submitted it ended early: see its log."
        shown = refusal.get("violations") or [reason]
        over_time = history.section(self._history(context, {}, self._earlier(context)))
        html, beside = self._addresses()
        self._write(html, render_note(title, [str(each) for each in shown], over_time))
        self._write(beside, json.dumps({"schema_version": 1, "job": None, "run": _run(context), **refusal}, indent=2))
        self.log.log(logging.INFO if kept else logging.WARNING, "%s: %s", title, reason)
        return html

    def _history(
        self, context: Context, summary: Mapping[str, Any], earlier: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        from airflow_automl.report import history

        said = {name: document(getattr(self, name), name) for name in ("evaluation", "decision", "gate", "deployment")}
        run, ti, now = context["dag_run"], context["ti"], datetime.now(UTC)
        this = history.entry(_run(context), summary, now.isoformat(timespec="seconds"), **said)
        date = getattr(run, "logical_date", None) or getattr(run, "run_after", None) or now
        noted = {"entry": this, "summary": summary, "date": date.isoformat(), "map_index": ti.map_index}
        ti.xcom_push(key=RUN_KEY, value=noted)
        found = [*(each["entry"] for each in earlier), this][-history.MOST :]
        ti.xcom_push(key=HISTORY_KEY, value=found)
        return found

    def _earlier(self, context: Context) -> list[dict[str, Any]]:
        """Return what this task noted in each run before, oldest first.

        What Airflow takes for the newest XCom is that with the latest logical date, which runs of assets lack. Some
        Airflows (3.0.6 for one) answer each as often as there are DAGs with a run of this run's ID.
        """
        ti = context["ti"]
        pulled = ti.xcom_pull(task_ids=self.task_id, key=RUN_KEY, include_prior_dates=True) or []
        noted = [pulled] if isinstance(pulled, dict) else pulled
        own = {each["entry"]["run_id"]: each for each in noted if each["map_index"] == ti.map_index}
        own.pop(ti.run_id, None)
        return sorted(own.values(), key=lambda each: datetime.fromisoformat(each["date"]))

    def _candidates(self, name: str) -> list[dict[str, Any]] | None:
        try:
            return list(self.hook.list_candidates(name))
        except AutoMLError as error:
            # A report with the best candidate alone is better than none.
            self.log.warning("The candidates of %s can't be listed: %s", name, error)
            return None

    def _addresses(self) -> tuple[str, str]:
        if self.path.endswith(".html"):
            return self.path, f"{self.path.removesuffix('.html')}.json"
        folder = self.path if self.path.endswith("/") else f"{self.path}/"
        return posixpath.join(folder, "report.html"), posixpath.join(folder, "report.json")

    def _write(self, address: str, content: str) -> None:
        from airflow_automl.hooks.storage import Storage

        Storage(self.hook, self.path_conn_id).write(address, content.encode())

    def _link(self, address: str, job_name: str) -> None:
        """Note the address of the page for a browser.

        A page of Airflow serves what is in S3. No browser reaches a worker's disk: Airflow's page of the
        job shows the same, and the location of the report.
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
