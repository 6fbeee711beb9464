"""What the tests of text and image classification share: jobs in this process, and candidates as they are served."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from airflow_automl.local.models import artifacts
from airflow_automl.local.training import main as trainer
from tests.unit.local.hosted import Hosted
from tests.unit.local.training import running as training


class Jobs:
    """Trains jobs in this process, and serves what they made."""

    def __init__(self, bucket: Any, folder: Path) -> None:
        self.bucket, self.folder = bucket, folder

    def train(self, problem: dict[str, Any], channels: list[dict[str, Any]], **more: Any) -> list[dict[str, Any]]:
        """The events of a job."""
        number = len(list(self.folder.iterdir()))
        config = next(iter(problem.values()))
        request = {"AutoMLProblemTypeConfig": problem, "AutoMLJobInputDataConfig": channels} | more.pop("request", {})
        folder = training.write_job(self.folder / f"job{number}", channels, config, request=request, **more)
        trainer.train(folder)
        return training.events(folder)

    def artefact(self, candidate: dict[str, Any], recorded: dict[str, str], unit: str = "CPU") -> Path:
        """The unpacked artefact of a candidate, its digest checked."""
        (container,) = candidate["InferenceContainerDefinitions"][unit]
        content = self.bucket.read(container["ModelDataUrl"])
        assert hashlib.sha256(content).hexdigest() == recorded[container["ModelDataUrl"]]
        archive = self.folder / f"{candidate['CandidateName']}.tar.gz"
        archive.write_bytes(content)
        path = self.folder / f"{candidate['CandidateName']}-{unit}"
        artifacts.unpack(archive, path)
        return path


def channel(uri: str, kind: str = "training", data_type: str = "S3Prefix", content_type: str | None = None) -> Any:
    found = {"ChannelType": kind, "DataSource": {"S3DataSource": {"S3DataType": data_type, "S3Uri": uri}}}
    return found | ({"ContentType": content_type} if content_type else {})


def failure(found: list[dict[str, Any]]) -> str:
    """Why a job failed."""
    assert found[-1]["event"] == "failed", found[-1]
    return str(found[-1]["reason"])


def completed(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The completed candidates by the approach that their names end with."""
    assert found[-1]["event"] == "completed", found[-1]
    ended = [entry for entry in training.candidates(found).values() if entry["CandidateStatus"] == "Completed"]
    return {
        entry["CandidateSteps"][-1]["CandidateStepName"].split("-", 1)[1].rsplit("-", 1)[0]: entry for entry in ended
    }


def killed_in_time(found: list[dict[str, Any]], limit: int) -> bool:
    """Whether the job's only candidate was killed within five seconds of its limit, and the job says why it failed."""
    (candidate,) = training.candidates(found).values()
    assert candidate["CandidateStatus"] == "Stopped"
    assert "MaxRuntimePerTrainingJobInSeconds" in candidate["FailureReason"]
    assert f"MaxRuntimePerTrainingJobInSeconds ({limit} s): allow more time" in failure(found)
    began = next(event["at"] for event in found if event["event"] == "candidate")
    return bool(found[-1]["at"] - began < limit + 5)


def partial_failures(found: list[dict[str, Any]]) -> list[str]:
    return [event["message"] for event in found if event["event"] == "partial_failure"]


def serve(path: Path, environment: dict[str, str] | None = None) -> Any:
    """A function that asks the model: (body, content type, accept) → (status, body)."""
    model = Hosted((path, environment or {}))

    def invoke(body: bytes, content_type: str = "text/csv", accept: str = "application/json") -> tuple[int, bytes]:
        answer = model(body, content_type, accept)
        return answer.status, answer.body

    return invoke
