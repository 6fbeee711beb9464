"""``python -m tests.conformance`` against the embedded Autopilot."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conformance.__main__ import EMBEDDED, main
from tests.conformance.recording import Recording
from tests.wire.autopilot import Autopilot, run_autopilot


@pytest.fixture(autouse=True)
def environment(idle_autopilot: Autopilot, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in idle_autopilot.environment.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)


def test_the_embedded_autopilot_answers_as_recorded(
    idle_autopilot: Autopilot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = tmp_path / "again.json"

    code = main(["--endpoint", idle_autopilot.url, "--record", str(recorded), "--compare", str(EMBEDDED)])

    assert (code, capsys.readouterr().out) == (0, "")
    calls = {call.label: call for call in Recording.load(recorded).calls}
    assert len(calls) > 200, "labels are unique, and no call is missing"
    assert all(call.status in (200, 400) for call in calls.values())
    assert all(call.error for label, call in calls.items() if label.startswith(("rejected", "malformed")))
    stopped = [call for label, call in calls.items() if label.endswith("/describe stopped")]
    assert [call.fields["AutoMLJobStatus"] for call in stopped] == ["Stopped"] * 7
    client = idle_autopilot.client()
    running = client.list_auto_ml_jobs(NameContains="cf", StatusEquals="InProgress")["AutoMLJobSummaries"]
    assert [job for job in running if job["AutoMLJobName"].startswith("cf")] == []
    assert "Contents" not in idle_autopilot.client("s3").list_objects_v2(Bucket="airflow-automl")
    text = recorded.read_text()
    assert not any(
        secret in text for secret in (idle_autopilot.url, idle_autopilot.environment["AWS_SECRET_ACCESS_KEY"])
    )


def test_every_kind_of_difference_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(EMBEDDED.read_text())
    calls = {call["label"]: call for call in document["calls"]}
    calls["V1/describe"]["fields"]["AutoMLJobConfig.Mode"] = "AUTO"
    calls["V2 Tabular/describe"]["fields"]["Novelty"] = 1
    del calls["V2 TextGeneration/describe"]["fields"]["RoleArn"]
    calls["malformed/a list"] |= {"status": 200, "error": ""}
    calls["V1/stop"]["label"] = "V1/halt"
    calls["no name/stop_auto_ml_job"]["message"] = "said in other words"
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(document))

    code = main(["--recorded", str(changed), "--compare", str(EMBEDDED)])

    assert code == 1
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(
        [
            'V1/describe: AutoMLJobConfig.Mode: "AUTO" against "ENSEMBLING"',
            "V2 Tabular/describe: Novelty: 1 against absent",
            'V2 TextGeneration/describe: RoleArn: absent against "<role>"',
            "malformed/a list: 200 against 400 SerializationException (received a JSON list; the body must be a JSON "
            "object)",
            "V1/halt: only in the first recording",
            "V1/stop: only in the second recording",
        ]
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--endpoint", "http://127.0.0.1:9", "--recorded", "x"],
        ["--recorded", "missing.json"],
        ["--recorded", __file__],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.slow
def test_a_job_that_trains_to_its_end_is_recorded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = tmp_path / "trained.json"
    with run_autopilot(tmp_path / "service", max_jobs=1) as autopilot:
        for name, value in autopilot.environment.items():
            if name.startswith("AWS_"):
                monkeypatch.setenv(name, value)
        assert main(["--endpoint", autopilot.url, "--train", "--record", str(recorded)]) == 0
    trained = {call.label: call for call in Recording.load(recorded).calls}["trained/describe"].fields
    assert (trained["AutoMLJobStatus"], trained["AutoMLJobSecondaryStatus"]) == ("Completed", "Completed")
    assert trained["BestCandidate.FinalAutoMLJobObjectiveMetric.MetricName"] == "F1"
    assert trained["BestCandidate.FinalAutoMLJobObjectiveMetric.Value"] == "<number>"
    generic = {re.sub(r"\[\d+\]", "[]", path) for path in trained}
    assert {path for path in TRAINED if path not in generic} == set()


#: Every field of a described job that trained: FIELDS.md's, but for those of other problem types and of failures.
TRAINED = {
    *("EndTime", "CreationTime", "LastModifiedTime", "AutoMLProblemTypeConfigName"),
    *(f"AutoMLJobArtifacts.{name}NotebookLocation" for name in ("CandidateDefinition", "DataExploration")),
    "ResolvedAttributes.AutoMLJobObjective.MetricName",
    "ResolvedAttributes.CompletionCriteria.MaxCandidates",
    "ResolvedAttributes.CompletionCriteria.MaxAutoMLJobRuntimeInSeconds",
    "ResolvedAttributes.AutoMLProblemTypeResolvedAttributes.TabularResolvedAttributes.ProblemType",
    *(
        f"BestCandidate.{path}"
        for path in (
            "CandidateName",
            "CandidateStatus",
            "ObjectiveStatus",
            "CreationTime",
            "EndTime",
            "LastModifiedTime",
            "CandidateSteps[].CandidateStepType",
            "CandidateSteps[].CandidateStepArn",
            "CandidateSteps[].CandidateStepName",
            "FinalAutoMLJobObjectiveMetric.Type",
            "FinalAutoMLJobObjectiveMetric.StandardMetricName",
            "InferenceContainers[].Image",
            "InferenceContainers[].ModelDataUrl",
            "InferenceContainers[].Environment.SAGEMAKER_INFERENCE_SUPPORTED",
            "CandidateProperties.CandidateArtifactLocations.Explainability",
            "CandidateProperties.CandidateArtifactLocations.ModelInsights",
            "CandidateProperties.CandidateMetrics[].MetricName",
            "CandidateProperties.CandidateMetrics[].StandardMetricName",
            "CandidateProperties.CandidateMetrics[].Value",
            "CandidateProperties.CandidateMetrics[].Set",
        )
    ),
}
