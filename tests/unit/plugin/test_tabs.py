"""The tabs of tasks show each task's result, and change when the task changes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from airflow.sdk import DAG, Asset, get_current_context, task

from airflow_automl.operators import (
    SageMakerAutoMLGateOperator,
    SageMakerAutoMLJobOperator,
    SageMakerAutoMLReportOperator,
)
from airflow_automl.xcom import HISTORY_KEY
from tests.local_s3 import s3_endpoint  # noqa: F401
from tests.standin import ENDLESS, candidate, connection, ends
from tests.unit.plugin.conftest import CONFIG, Browser, World, page
from tests.unit.report.test_history import EVALUATION, note


def tab(dag_id: str, run_id: str, task_id: str) -> str:
    return page("task-instance", dag_id=dag_id, run_id=run_id, task_id=task_id, map_index="-1")


@pytest.fixture(scope="module")
def after_training(world: World, run_dag: Any) -> dict[str, str]:
    """Runs of a DAG whose gates accept and reject, with tasks that return what deploy, transform and register do."""
    made = {
        "deploy": {"endpoint_name": "churn", "candidate_name": "c-1", "job_name": "j-1", "endpoint_config": "churn-v2"},
        "back": {"endpoint_name": "churn", "endpoint_config": "churn-v1", "previous_endpoint_config": "churn-v2"},
        "delete": {"endpoint_name": "churn", "endpoint_configs": ["churn-v1"]},
        "transform": {"transform_job_name": "t-1", "status": "Completed", "output": "s3://out/<b>predictions</b>/"},
        "register": {
            "model_package_arn": "arn:aws:sagemaker:us-east-1:123456789012:model-package/churn/3",
            "model_package_group": "churn",
            "version": 3,
            "approval_status": "PendingManualApproval",
        },
        "evaluate": {
            **EVALUATION,
            "confusion_matrix": None,
            "CandidateName": "c-1",
            "rows": 500,
            "unit": "rows",
            "endpoint_name": "churn",
        },
        "judge": {
            "passed": True,
            "reason": "Candidate c-1 passes.",
            "candidate_name": "c-1",
            "metrics": {"AUC": 0.857969, "F1": 0.61, "InferenceLatency": 0.0123},
            "require": {"AUC": {"min": 0.5, "max": None}},
            "champion": None,
        },
        "split": {"train": "s3://data/train/", "test": "s3://data/test/"},
        "score": {"accuracy": 0.9, "confusion_matrix": [[8, 1], [0, 1]], "html": "s3://data/plot.html"},
        "check": {"passed": False, "reason": "17 rows have no date."},
        "decide": {"train": False, "reason": "The model is kept, candidate c-1.", "endpoint_name": "churn"},
    }
    runs = {}
    for name, wanted in (("accepted", 0.5), ("rejected", 0.99)):
        with DAG(f"after_{name}", schedule=None) as dag:
            train = SageMakerAutoMLJobOperator(task_id="train", config=CONFIG, poll_interval=1, deferrable=False)
            gate = SageMakerAutoMLGateOperator(task_id="gate", candidate=train.best_candidate, require={"AUC": wanted})
            for task_id, result in made.items():

                @task(task_id=task_id)
                def done(result: Any) -> Any:
                    return result

                gate >> done(result)

            @task
            def aside() -> None:
                get_current_context()["ti"].xcom_push(key=HISTORY_KEY, value=[note("run-1"), note("run-2")])

            @task
            def chat() -> None:
                get_current_context()["ti"].xcom_push(key=HISTORY_KEY, value="Hello. What can I do for you?")

            aside()
            chat()
        runs[name] = str(run_dag(dag).run_id)
    return runs


def test_a_gates_tab_shows_the_decision_with_its_sentence(browser: Browser, after_training: dict[str, str]) -> None:
    admin = browser("admin")
    accepted = admin.get(tab("after_accepted", after_training["accepted"], "gate")).text
    assert "Candidate accepted" in accepted
    assert ">0.87<" in accepted
    rejected = admin.get(tab("after_rejected", after_training["rejected"], "gate")).text
    assert "Candidate rejected" in rejected
    assert "0.99" in rejected


def test_the_tabs_of_an_evaluation_and_of_a_decision_to_keep_the_model(
    browser: Browser, after_training: dict[str, str]
) -> None:
    admin, run = browser("admin"), after_training["accepted"]
    evaluated = admin.get(tab("after_accepted", run, "evaluate")).text
    assert "c-1 was evaluated on 500 rows" in evaluated
    assert "0.78" in evaluated
    kept = admin.get(tab("after_accepted", run, "decide")).text
    assert "The model is kept, candidate c-1." in kept
    assert "Deployed" not in kept


@pytest.mark.parametrize("task_id", ["split", "score", "check"])
def test_what_other_tasks_return_is_no_result_of_this_package(
    browser: Browser, after_training: dict[str, str], task_id: str
) -> None:
    answer = browser("admin").get(tab("after_accepted", after_training["accepted"], task_id))
    assert answer.status_code == 200
    assert "No AutoML jobs" in answer.text


def test_the_tab_of_a_dag_shows_its_history(browser: Browser, after_training: dict[str, str]) -> None:
    shown = browser("admin").get(page("dag", dag_id="after_accepted")).text
    assert shown.index("AUC over the runs") < shown.index("<td>run-2</td>") < shown.index("<td>run-1</td>")
    assert "AUC over the runs" not in browser("admin").get(page("task", dag_id="after_accepted", task_id="gate")).text


def test_the_tab_of_a_dag_without_a_report_shows_the_events_of_its_assets(
    browser: Browser, world: World, run_dag: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__AUTOML__PRICES", '{"currency": "USD", "default": 60}')
    with DAG("told_by_events", schedule=None) as dag:
        SageMakerAutoMLJobOperator(
            task_id="train",
            config=CONFIG,
            poll_interval=1,
            deferrable=False,
            outlets=[Asset("told_by_events"), Asset("told_by_events_too")],
        )
    runs = [str(run_dag(dag).run_id) for _ in range(2)]
    name, admin = list(world.sagemaker.jobs.values())[-1].name, browser("admin")
    shown = admin.get(page("dag", dag_id="told_by_events")).text
    first, second = (shown.index(f"<td>{run}</td>") for run in runs)
    assert shown.index("AUC over the runs") < second < first
    assert shown.count("<td>Trained</td>") == shown.count("<td>1.00 USD</td>") == 2
    assert shown.count('<span class="soft">1.00 USD</span>') == 2
    assert "<dt>Cost</dt><dd>1.00 USD</dd>" in admin.get(page("job", name=name)).text


def test_a_task_that_a_gate_skipped_says_that_the_candidate_was_rejected(
    browser: Browser, after_training: dict[str, str]
) -> None:
    text = browser("admin").get(tab("after_rejected", after_training["rejected"], "deploy")).text
    assert "Candidate rejected" in text
    assert "0.99" in text
    assert "No AutoML jobs" not in text
    beside = browser("admin").get(tab("after_rejected", after_training["rejected"], "aside")).text
    assert "Candidate rejected" not in beside


@pytest.mark.parametrize(
    ("task_id", "expected"),
    [
        ("deploy", ["Endpoint churn serves candidate c-1", "AllTraffic", "In service", "churn-v2"]),
        ("back", ["Rolled back", "Endpoint churn serves config churn-v1."]),
        ("delete", ["Endpoint deleted", "Endpoint churn was deleted."]),
        ("transform", ["The predictions are at s3://out/&lt;b&gt;predictions&lt;/b&gt;/"]),
        (
            "judge",
            ["Candidate c-1 passes.", ">0.857969<", ">0.5<", ">0.6100<", "InferenceLatency (ms)", ">12.30<"],
        ),
        ("register", ["churn version 3 is pending manual approval"]),
    ],
)
def test_tabs_show_what_their_task_made(
    browser: Browser, after_training: dict[str, str], task_id: str, expected: list[str]
) -> None:
    text = browser("admin").get(tab("after_accepted", after_training["accepted"], task_id)).text
    for each in expected:
        assert each in text


def test_a_task_whose_request_was_rejected_shows_the_violations_and_its_report_ends_at_once(
    browser: Browser, world: World, run_dag: Any, tmp_path: Path
) -> None:
    with DAG("refused", schedule=None) as dag:
        train = SageMakerAutoMLJobOperator(task_id="train", config={**CONFIG, "RoleArn": "<nobody>"})
        SageMakerAutoMLReportOperator(task_id="report", job=train.job, path=f"{tmp_path}/", trigger_rule="all_done")
    run_id = str(run_dag(dag).run_id)
    text = browser("admin").get(tab("refused", run_id, "train")).text
    assert "Request rejected" in text
    assert "RoleArn" in text
    assert "&lt;nobody&gt;" in text
    assert "RoleArn" in (tmp_path / "report.html").read_text()


def test_a_viewer_without_the_right_to_xcoms_sees_no_result(
    browser: Browser, after_training: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_automl.plugin.rights.Rights.may_see_xcoms", lambda self, dag_id: False)
    text = browser("admin").get(tab("after_accepted", after_training["accepted"], "gate")).text
    assert "Candidate accepted" not in text


def test_a_tab_is_of_another_kind_before_during_and_after_the_job(browser: Browser, world: World) -> None:
    admin = browser("admin")
    kinds = []
    for address in (tab("churn", world.churn, "other"), world.pages()["task-instance"], page("job", name="kind-ended")):
        world.sagemaker.add_job("kind-ended", age=100)
        answer = admin.get(address).text
        kinds.append(re.findall(r'<main data-kind="([^"]*)"', answer)[0])
        if "name=kind-ended" not in address:
            assert "data-refresh" in answer
    assert len(set(kinds)) == 3


# A job that waits, runs, and was stopped


def test_a_job_that_waits_for_a_slot_says_so_and_its_place_in_line(browser: Browser, world: World) -> None:
    waiting = ((0.0, "InProgress", "Starting"),)
    world.sagemaker.add_job("first-in-line", waiting, age=5000)
    world.sagemaker.add_job("second-in-line", waiting, age=4000)
    admin = browser("admin")
    text = admin.get(page("job", name="second-in-line")).text
    assert "Waiting for its turn" in text
    assert "number 2 in line" in text
    assert "Waiting for its turn" in admin.get(page("jobs", search="second-in-line")).text
    for name in ("first-in-line", "second-in-line"):
        del world.sagemaker.jobs[name]


def test_a_running_job_shows_its_limit_and_a_stopped_one_the_steps_it_took(browser: Browser, world: World) -> None:
    admin = browser("admin")
    assert "of 1 h" in admin.get(page("job", name=world.running)).text
    world.sagemaker.add_job("was-stopped", ENDLESS, age=50)
    before = admin.get(page("job", name="was-stopped")).text
    assert 'aria-current="step"><span>Training models' in before
    world.sagemaker.jobs["was-stopped"].script = ends("Stopped", "Stopped")
    text = _fresh(admin, "was-stopped")
    steps = re.findall(r'<li class="(\w+)"[^>]*><span>([^<]*)', text)
    assert ("done", "Training models") in steps
    assert steps[-1] == ("warning", "Stopped")


def _fresh(admin: Any, name: str) -> str:
    app = next(route.app for route in admin.app.routes if getattr(route, "path", "") == "/automl")
    app.state.account.answers.forget(lambda key: True)
    return str(admin.get(page("job", name=name)).text)


# The report


@pytest.fixture
def s3(
    world: World,
    s3_endpoint: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Any]:
    """A client of the S3 behind the connection ``with_s3``, which has a bucket ``reports``."""
    given = json.loads(connection(world.sagemaker.url))
    given["extra"]["service_config"] = {"s3": {"endpoint_url": s3_endpoint}}
    monkeypatch.setenv("AIRFLOW_CONN_WITH_S3", json.dumps(given))
    client = boto3.client(
        "s3", endpoint_url=s3_endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_bucket(Bucket="reports")
    yield client
    for each in client.list_objects_v2(Bucket="reports").get("Contents", ()):
        client.delete_object(Bucket="reports", Key=each["Key"])
    client.delete_bucket(Bucket="reports")


@pytest.fixture
def reported(world: World, run_dag: Any, s3: Any) -> dict[str, str]:
    """A run whose report is in S3, in a folder that was named without its final slash."""
    with DAG("reported", schedule=None) as dag:
        train = SageMakerAutoMLJobOperator(
            task_id="train", config=CONFIG, poll_interval=1, deferrable=False, aws_conn_id="with_s3"
        )
        SageMakerAutoMLReportOperator(task_id="report", job=train.job, path="s3://reports/run", aws_conn_id="with_s3")
    run_id = str(run_dag(dag).run_id)
    jobs = [job.name for job in world.sagemaker.jobs.values() if job.tags.get("airflow:dag_id") == "reported"]
    assert s3.head_object(Bucket="reports", Key="run/report.html")
    return {"run_id": run_id, "name": jobs[-1]}


def test_the_report_opens_in_airflow_with_the_rights_of_its_job(
    browser: Browser, reported: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = browser("admin")
    shown = admin.get(tab("reported", reported["run_id"], "report")).text
    address = re.findall(r'href="([^"]*)"[^>]*>Open report', shown)[0].replace("&amp;", "&")
    answer = admin.get(address)
    assert answer.status_code == 200
    assert "This page is complete in itself" in answer.text
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert "Open report" in admin.get(page("job", name=reported["name"], connection="with_s3")).text
    assert browser("none").get(address).status_code == 403
    assert browser(None).get(address).status_code == 401


def test_a_report_outside_of_s3_is_not_served(browser: Browser, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "airflow_automl.plugin.metadata.report_of", lambda owner, name: {"html": "/etc/passwd", "job_name": name}
    )
    answer = browser("admin").get(page("report", name=world.running))
    assert answer.status_code == 404
    assert "root:" not in answer.text


def test_an_xcom_gives_no_right_to_read_anything_but_reports_on_its_job(
    browser: Browser, world: World, s3: Any, reported: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = s3.get_object(Bucket="reports", Key="run/report.html")["Body"].read()
    other = other.replace(reported["name"].encode(), b"another-job")
    for content in (b"salaries", b"", other):
        s3.put_object(Bucket="reports", Key="secret.html", Body=content)
        monkeypatch.setattr(
            "airflow_automl.plugin.metadata.report_of",
            lambda owner, name: {"html": "s3://reports/secret.html", "job_name": name},
        )
        answer = browser("admin").get(page("report", name=reported["name"], connection="with_s3"))
        assert answer.status_code == 404
        assert not content or content.decode() not in answer.text


def test_the_plots_of_the_report_are_on_the_page_of_the_job(browser: Browser, world: World, s3: Any) -> None:
    matrix = {"No": {"No": 7, "Yes": 1}, "Yes": {"No": 2, "Yes": 5}}
    curve = {"false_positive_rates": [0.0, 0.2, 1.0], "true_positive_rates": [0.0, 0.8, 1.0]}
    statistics = {
        "binary_classification_metrics": {
            "confusion_matrix": matrix,
            "receiver_operating_characteristic_curve": curve,
        }
    }
    s3.put_object(Bucket="reports", Key="insights/statistics.json", Body=json.dumps(statistics).encode())
    best = candidate("plotted")
    best["CandidateProperties"] = {"CandidateArtifactLocations": {"ModelInsights": "s3://reports/insights"}}
    world.sagemaker.add_job("plotted", age=100, BestCandidate=best)
    text = browser("admin").get(page("job", name="plotted", connection="with_s3")).text
    assert "Confusion matrix" in text
    assert "ROC curve" in text
    assert "data-refresh" not in text
