"""The report operator, against the wire, writing to a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from airflow.sdk import DAG

from airflow_automl import xcom
from airflow_automl.contract.documents import schema
from airflow_automl.exceptions import AutoMLJobNotFound, AutoMLValidationError
from airflow_automl.operators import SageMakerAutoMLReportOperator
from tests.hosting import ARN, HostingStandIn
from tests.unit.operators.conftest import ROLE, make_candidate


def describe(status: str = "Completed", **members: Any) -> dict[str, Any]:
    return {
        "AutoMLJobName": "churn-5a8e",
        "AutoMLJobArn": f"{ARN}:automl-job/churn-5a8e",
        "AutoMLJobInputDataConfig": [],
        "AutoMLProblemTypeConfig": {"TabularJobConfig": {"TargetAttributeName": "churn"}},
        "OutputDataConfig": {"S3OutputPath": "s3://acme-ml/out/"},
        "RoleArn": ROLE,
        "CreationTime": 1_790_000_000,
        "EndTime": 1_790_000_097,
        "LastModifiedTime": 1_790_000_097,
        "AutoMLJobStatus": status,
        "AutoMLJobSecondaryStatus": status,
        **members,
    }


def on_the_wire(candidate: dict[str, Any]) -> dict[str, Any]:
    return {**candidate, "CreationTime": 1_790_000_010, "EndTime": 1_790_000_020, "LastModifiedTime": 1_790_000_020}


@pytest.fixture
def completed(hosting: HostingStandIn) -> HostingStandIn:
    candidates = [on_the_wire(make_candidate(f"churn-{number}", 0.8 + number / 100)) for number in range(3)]
    hosting.jobs["churn-5a8e"] = describe(BestCandidate=candidates[2])
    hosting.candidates["churn-5a8e"] = candidates
    return hosting


def test_a_page_and_its_json_are_written_into_a_folder(
    completed: HostingStandIn, context: dict[str, Any], tmp_path: Path, job: dict[str, Any]
) -> None:
    folder = tmp_path / "reports" / "manual__2026-01-01T00:00:00+00:00"
    returned = SageMakerAutoMLReportOperator(task_id="report", job=job, path=str(folder)).execute(context)

    assert returned == f"{folder}/report.html"
    page = (folder / "report.html").read_text()
    data = json.loads((folder / "report.json").read_text())
    assert "churn-2 is the best candidate with AUC 0.82" in page
    assert [row["name"] for row in data["leaderboard"]] == ["churn-2", "churn-1", "churn-0"]
    assert context["ti"].xcoms["summary"] == context["ti"].xcoms["summary"] | {
        "job_name": "churn-5a8e",
        "candidate_name": "churn-2",
        "objective": "AUC",
        "value": pytest.approx(0.82),
        "runtime_seconds": 87.0,
        "candidates": 3,
        "html": returned,
        "json": f"{folder}/report.json",
    }


def test_the_file_can_be_named(completed: HostingStandIn, context: dict[str, Any], tmp_path: Path) -> None:
    path = f"file://{tmp_path}/churn.html"
    assert SageMakerAutoMLReportOperator(task_id="r", job_name="churn-5a8e", path=path).execute(context) == path
    assert (tmp_path / "churn.html").exists()
    assert (tmp_path / "churn.json").exists()


@pytest.mark.parametrize("status", ["Failed", "Stopped", "InProgress"])
def test_jobs_that_did_not_complete_have_a_report_too(
    hosting: HostingStandIn, context: dict[str, Any], tmp_path: Path, job: dict[str, Any], status: str
) -> None:
    hosting.jobs["churn-5a8e"] = describe(status, FailureReason="The target column 'churn' is not in the data")
    SageMakerAutoMLReportOperator(task_id="r", job={**job, "status": "InProgress"}, path=str(tmp_path)).execute(context)
    page = (tmp_path / "report.html").read_text()
    assert {"Failed": "The target column &#39;churn&#39; is not in the data", "Stopped": "It was stopped"}.get(
        status, "No candidate is finished yet"
    ) in page


def test_the_previous_run_is_compared_with(
    completed: HostingStandIn, context: dict[str, Any], tmp_path: Path, job: dict[str, Any]
) -> None:
    summary = {"job_name": "churn-1111", "metrics": {"AUC": 0.81}}
    date = "2026-11-20T00:00:00+00:00"
    context["ti"].prior = {"run": {"entry": {"run_id": "0"}, "summary": summary, "date": date, "map_index": -1}}
    SageMakerAutoMLReportOperator(task_id="r", job=job, path=str(tmp_path)).execute(context)
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["previous"]["gain"] == pytest.approx(0.01)
    assert "AUC was 0.8100 in churn-1111" in (tmp_path / "report.html").read_text()


def test_if_the_leaderboard_is_denied_the_best_candidate_is_shown(
    completed: HostingStandIn, context: dict[str, Any], tmp_path: Path, job: dict[str, Any], monkeypatch: Any
) -> None:
    from tests.hosting import Refused

    def denied(request: dict[str, Any]) -> dict[str, Any]:
        raise Refused("AccessDeniedException", "no")

    monkeypatch.setattr(completed, "ListCandidatesForAutoMLJob", denied)
    SageMakerAutoMLReportOperator(task_id="r", job=job, path=str(tmp_path)).execute(context)
    data = json.loads((tmp_path / "report.json").read_text())
    assert [row["name"] for row in data["leaderboard"]] == ["churn-2"]
    assert data["summary"]["candidates"] is None
    assert "<dt>Candidates</dt>" not in (tmp_path / "report.html").read_text()


def test_a_refused_request_is_reported_with_its_violations(
    hosting: HostingStandIn, context: dict[str, Any], tmp_path: Path
) -> None:
    violations = ["RoleArn: is required & missing", "Mode: unknown"]
    xcom.push_refusal(context, AutoMLValidationError("CreateAutoMLJobV2 request", violations))
    refusal = context["ti"].xcoms["job"]
    jsonschema.validate(refusal, schema("job"))
    html = SageMakerAutoMLReportOperator(task_id="r", job=refusal, path=str(tmp_path)).execute(context)
    page = Path(html).read_text()
    assert "No AutoML job was submitted" in page
    assert "RoleArn: is required &amp; missing" in page
    assert json.loads((tmp_path / "report.json").read_text())["violations"] == violations
    SageMakerAutoMLReportOperator(task_id="r", job="None", path=str(tmp_path)).execute(context)
    assert "ended early: see its log" in Path(html).read_text()


def test_no_job(hosting: HostingStandIn, context: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(AutoMLJobNotFound):
        SageMakerAutoMLReportOperator(task_id="r", job_name="unknown", path=str(tmp_path)).execute(context)
    with pytest.raises(AutoMLValidationError, match="job, job_name: none is given"):
        SageMakerAutoMLReportOperator(task_id="r", path=str(tmp_path))


#: What shows the same as a report that no browser can reach.
JOB_PAGE = "https://airflow.acme.org/ml/automl/job?name=churn-5a8e&connection=aws_default"
REPORT_PAGE = JOB_PAGE.replace("/job?", "/report?")


@pytest.mark.parametrize(
    ("address", "is_aws", "link"),
    [
        ("s3://acme-ml/reports/a b/report.html", True, REPORT_PAGE),
        ("s3://acme-ml/reports/report.html", False, REPORT_PAGE),
        ("/var/reports/report.html", True, JOB_PAGE),
        ("https://reports.acme.org/report.html", True, "https://reports.acme.org/report.html"),
    ],
)
def test_the_link_leads_to_where_a_browser_finds_the_page(
    hosting: HostingStandIn, monkeypatch: pytest.MonkeyPatch, address: str, is_aws: bool, link: str
) -> None:
    from airflow_automl.hooks import SageMakerAutoMLHook

    monkeypatch.setattr(SageMakerAutoMLHook, "is_aws", is_aws)
    operator = SageMakerAutoMLReportOperator(task_id="r", job_name="churn-5a8e", path="unused")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.acme.org/ml/")
    operator._link(address, "churn-5a8e")
    (extra,) = operator.operator_extra_links
    assert extra.get_link(operator, ti_key=None) == link
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "")
    operator._link("/var/reports/report.html", "churn-5a8e")
    assert extra.get_link(operator, ti_key=None) == ""


def test_a_run_that_kept_the_model_is_reported_and_the_history_continues(
    completed: HostingStandIn, context: dict[str, Any], tmp_path: Path, job: dict[str, Any]
) -> None:
    report = SageMakerAutoMLReportOperator(
        task_id="report", job=job, deployment={"endpoint_name": "churn"}, path=str(tmp_path)
    )
    report.execute(context)
    (first,) = context["ti"].xcoms["history"]
    assert (first["end"], first["value"], first["job_name"]) == ("deployed", pytest.approx(0.82), "churn-5a8e")
    assert " over the runs" not in (tmp_path / "report.html").read_text()

    context["ti"].prior["run"], context["ti"].run_id = context["ti"].xcoms["run"], "manual__2"
    decision = {"train": False, "reason": "The model is kept, because it is as good as it was."}
    SageMakerAutoMLReportOperator(
        task_id="report", job=None, job_name="", decision=decision, path=str(tmp_path)
    ).execute(context)
    assert [each["end"] for each in context["ti"].xcoms["history"]] == ["deployed", "kept"]
    page = (tmp_path / "report.html").read_text()
    assert "The deployed model is kept" in page
    assert decision["reason"] in page
    assert "AUC over the runs" in page


@pytest.mark.parametrize("mapped", [False, True])
def test_the_history_has_every_run_with_and_without_a_logical_date(
    run_dag: Callable[..., Any], tmp_path: Path, mapped: bool
) -> None:
    """Runs of assets have no logical date, and Airflow sorts prior runs by it."""
    paths = [str(tmp_path / "a"), str(tmp_path / "b")]
    with DAG(f"mixed_{mapped}") as dag:
        if mapped:
            SageMakerAutoMLReportOperator.partial(task_id="report", job_name="").expand(path=paths)
        else:
            SageMakerAutoMLReportOperator(task_id="report", job_name="", path=paths[0])
    made = []
    for hour, dated in enumerate((True, False, True)):
        at = datetime(2026, 11, 21, hour, tzinfo=UTC)
        run = run_dag(dag, run_after=at, logical_date=at if dated else None)
        made.append(run.run_id)
    for ti in run.get_task_instances():
        (history,) = ti.xcom_pull(task_ids="report", key="history", map_indexes=[ti.map_index])
        assert [each["run_id"] for each in history] == made
