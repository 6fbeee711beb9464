"""The doctor on the embedded Autopilot, and the Autopilot's logs through an unmodified client."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest

from airflow_automl.cli import main
from airflow_automl.contract import tabular
from airflow_automl.doctor.checks import _background
from airflow_automl.doctor.findings import Findings
from tests.wire.autopilot import Autopilot


def test_the_embedded_autopilot_is_ready(
    idle_autopilot: Autopilot, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, value in idle_autopilot.environment.items():
        monkeypatch.setenv(name, value)
    s3 = idle_autopilot.client("s3")
    s3.put_object(Bucket="automl", Key="doctor/part-0.csv", Body=b"a,b\n1,2\n")
    request = tabular("s3://automl/doctor/", target="b", problem_type="Regression", objective="MSE", max_runtime=60)
    (tmp_path / "job.json").write_text(json.dumps(request))

    assert main(["doctor", "--json", "--config", str(tmp_path / "job.json")]) == 0

    found = {each["check"]: each["message"] for each in json.loads(capsys.readouterr().out)["findings"]}
    checks = ["connection", "config", "region", "credentials", "service", "role", "background", "output", "input"]
    assert list(found) == checks
    assert found["background"].startswith("all ")
    assert found["role"] == "not needed: the endpoint is not AWS's own"
    assert found["input"] == "s3://automl/doctor/ has data that the caller can read"
    assert "s3://automl/output/" in found["output"]
    uploads = s3.list_multipart_uploads(Bucket="automl")
    assert not uploads.get("Uploads"), "the doctor's upload was given up"


def test_a_cluster_that_cannot_be_reached_leads_to_its_check() -> None:
    tasks = {"supervisor": {"state": "running"}, "ray": {"state": "failing", "reason": "Ray can't be reached"}}
    findings = Findings(lambda finding: None)
    _background(findings, f"data:application/json,{quote(json.dumps({'tasks': tasks}))}")
    (found,) = findings
    assert found.message == "the task ray fails: Ray can't be reached"
    assert "airflow-automl local --check" in found.advice


def test_groups_of_users_are_motos(idle_autopilot: Autopilot) -> None:
    logs = idle_autopilot.client("logs")
    assert logs.describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs")["logStreams"] == []
    with pytest.raises(logs.exceptions.ResourceNotFoundException):
        logs.get_log_events(logGroupName="/aws/sagemaker/TrainingJobs", logStreamName="none/trainer")
    logs.create_log_group(logGroupName="mine")
    assert logs.describe_log_streams(logGroupName="mine")["logStreams"] == []
