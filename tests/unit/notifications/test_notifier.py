"""The notifier, over a channel with templates and over a function."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG, BaseNotifier
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.notifications import SageMakerAutoMLNotifier
from tests.airflows import since
from tests.fakes import fake

JOB = {
    "name": "churn-5a8e",
    "status": "Completed",
    "secondary_status": "MaxAutoMLJobRuntimeReached",
    "end": {"title": "Completed at the runtime limit", "tone": "good"},
    "problem_type": "BinaryClassification",
    "created": "2026-11-21T04:00:00+00:00",
    "ended": "2026-11-21T04:02:00+00:00",
    "partial_failures": ["no <b>insights</b>"],
}
CANDIDATE = {
    "CandidateName": "churn-Weighted",
    "FinalAutoMLJobObjectiveMetric": {"MetricName": "AUC", "Value": 0.85},
}


class Channel(BaseNotifier):
    """Any of Airflow's notifiers."""

    template_fields = ("subject", "body")

    def __init__(self, subject: str, body: str) -> None:
        super().__init__()
        self.subject = subject
        self.body = body
        self.sent: list[tuple[str, str]] = []

    def notify(self, context: Any) -> None:
        self.sent.append((self.subject, self.body))


def context(xcoms: dict[tuple[str, str], Any], **more: Any) -> dict[str, Any]:
    def pull(task_ids: str, key: str = "return_value", **_: Any) -> Any:
        return xcoms.get((task_ids, key))

    ti = fake(RuntimeTaskInstance, dag_id="churn", task_id="train", run_id="manual__1", xcom_pull=pull)
    return {"ti": ti, "dag": DAG("churn"), **more}


def test_a_channels_templates_see_the_summary() -> None:
    channel = Channel("{{ automl.title }}", "{{ automl.html }}")
    there = {("train", "job"): JOB, ("train", "return_value"): CANDIDATE}
    SageMakerAutoMLNotifier(channel)(context(there))
    ((subject, body),) = channel.sent
    assert subject == "churn: AutoML job churn-5a8e: Completed at the runtime limit"
    assert "Binary classification" in body
    assert "AUC 0.8500" in body
    assert "Completed at the runtime limit (Completed/MaxAutoMLJobRuntimeReached)" in body
    assert "churn-Weighted" in body
    assert "AUC 0.85" in body
    assert "2 min 0 s" in body
    assert "no &lt;b&gt;insights&lt;/b&gt;" in body


def test_a_function_gets_the_summary_of_another_task() -> None:
    sent: list[dict[str, Any]] = []
    there = {("other", "job"): {**JOB, "status": "Failed", "end": {"title": "Failed", "tone": "bad"}}}
    SageMakerAutoMLNotifier(sent.append, task_ids="other")(context(there, exception=ValueError("No column `churn`")))
    (summary,) = sent
    assert summary["title"] == "churn: AutoML job churn-5a8e: Failed; task train failed"
    assert "Reason: No column `churn`" in summary["text"]
    assert "- Reason: `No column 'churn'`" in summary["markdown"]


def test_a_task_that_never_submitted_a_job() -> None:
    sent: list[dict[str, Any]] = []
    SageMakerAutoMLNotifier(sent.append)(context({}, exception="bad request"))
    assert sent[0]["title"] == "churn: no AutoML job was submitted"
    assert sent[0]["job"] is None


def test_in_markdown_a_reason_of_several_lines_stays_a_code_span() -> None:
    sent: list[dict[str, Any]] = []
    error = AutoMLValidationError("request", ["Mode: received '[a](b)'\n\n# c", "RoleArn: is missing"])
    SageMakerAutoMLNotifier(sent.append)(context({}, exception=error))
    _, _, reason, task = sent[0]["markdown"].splitlines()
    assert reason == "- Reason: `request has 2 errors: - Mode: received '[a](b)' # c - RoleArn: is missing`"
    assert task.startswith("- Task: `")


def test_a_channel_that_is_none() -> None:
    with pytest.raises(AutoMLValidationError, match="channel: is 'mail'"):
        SageMakerAutoMLNotifier("mail")  # type: ignore[arg-type]


class AsyncChannel(Channel):
    async def async_notify(self, context: Any) -> None:
        self.sent.append((self.subject, self.body))


@since(3, 1, "no deadline alerts")
async def test_a_deadline_alert_sends_the_summary_of_the_runs_job(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.execution_time.xcom import XCom

    def get_one(*, key: str, dag_id: str, task_id: str, run_id: str, map_index: int) -> Any:
        assert (dag_id, run_id, map_index) == ("churn", "manual__1", -1)
        return {("train", "job"): {**JOB, "end": {"title": "In progress", "tone": "running"}}}.get((task_id, key))

    monkeypatch.setattr(XCom, "get_one", get_one)
    channel = AsyncChannel("{{ automl.title }}", "")
    run = {"dag_id": "churn", "dag_run_id": "manual__1"}
    notifier = SageMakerAutoMLNotifier(channel, task_ids="train", context={"dag_run": run, "deadline": {}})
    await notifier
    assert channel.sent == [("churn: AutoML job churn-5a8e: In progress", "")]
    sent: list[Any] = []

    async def send(summary: Any) -> None:
        sent.append(summary["title"])

    await SageMakerAutoMLNotifier(send, task_ids="train", context={"dag_run": run})
    assert sent == ["churn: AutoML job churn-5a8e: In progress"]


def test_a_mapped_task_and_its_group_are_about_the_job_of_their_map_index() -> None:
    jobs = {index: {**JOB, "name": f"churn-{index}"} for index in range(3)}

    def pull(task_ids: str, key: str = "return_value", map_indexes: Any = None, **_: Any) -> Any:
        if key != "job" or task_ids == "report":
            return None
        return list(jobs.values()) if map_indexes is None else jobs.get(map_indexes)

    sent: list[dict[str, Any]] = []
    for task_id, task_ids in (("train", None), ("report", "train")):
        ti = fake(RuntimeTaskInstance, dag_id="churn", task_id=task_id, run_id="manual__1", map_index=2, xcom_pull=pull)
        SageMakerAutoMLNotifier(sent.append, task_ids=task_ids)({"ti": ti, "dag": DAG("churn")})
    assert [each["job"]["name"] for each in sent] == ["churn-2", "churn-2"]


def test_a_channel_that_is_used_again_renders_its_own_templates_and_no_text_of_before() -> None:
    sent: list[str] = []

    class Recording(Channel):
        def notify(self, context: Any) -> None:
            sent.append(self.body)

    notifier = SageMakerAutoMLNotifier(Recording("", "{{ automl.text }}"))
    for error in ("{{ 6 * 7 }}", "second"):
        notifier(context({("train", "job"): JOB}, exception=error))
    assert "Reason: {{ 6 * 7 }}" in sent[0]
    assert "Reason: second" in sent[1]
