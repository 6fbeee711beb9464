"""The API server with the pages in it, listening on loopback: enough for a browser, without the rest of Airflow."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.standin import StandIn, ends
from tests.unit.plugin.conftest import (  # noqa: F401
    World,
    application,
    page,
    pages,
    sagemaker,
    world,
)

BEGAN = time.time() - 7190


def candidates(job: str, count: int, given_up: int = 0) -> list[dict[str, Any]]:
    """Candidates with many scores, each with hyperparameters, steps and metrics on two data sets; some were stopped."""
    algorithms = ("LightGBM", "XGBoost", "CatBoost", "RandomForest")
    made = []
    for number in range(count + given_up):
        name = f"{job}-{algorithms[number % 4]}-{number:03}-abcd"
        done = number < count
        measured = {
            "AUC": 0.5 + (number * 7919 % 400) / 1000,
            "F1": 0.4 + (number * 31 % 100) / 300,
            "Accuracy": 0.6,
            "BalancedAccuracy": 0.61,
            "Precision": 0.7,
            "Recall": 0.5,
            "LogLoss": 0.3 + number / 5000,
            "InferenceLatency": 0.012 + number / 1e5,
        }
        made.append(
            {
                "CandidateName": name,
                "CandidateStatus": "Completed" if done else "Stopped",
                "ObjectiveStatus": "Succeeded",
                "CandidateSteps": [
                    {
                        "CandidateStepType": "AWS::SageMaker::TrainingJob",
                        "CandidateStepName": f"train-{number}",
                        "CandidateStepArn": f"arn:aws:sagemaker:us-east-1:123456789012:training-job/train-{number}",
                    }
                ],
                "CreationTime": BEGAN + 5 * number,
                "EndTime": BEGAN + 5 * number + 20,
                "LastModifiedTime": BEGAN + 5 * number + 20,
                "InferenceContainers": [{"Image": "xgboost:1", "ModelDataUrl": f"s3://out/{name}/model.tar.gz"}],
                **({} if done else {"FailureReason": "Given up: other candidates did better (Hyperband)."}),
                **(
                    {
                        "FinalAutoMLJobObjectiveMetric": {"MetricName": "AUC", "Value": measured["AUC"]},
                        "CandidateProperties": {
                            "CandidateMetrics": [
                                {"MetricName": key, "StandardMetricName": key, "Value": value, "Set": data}
                                for key, value in measured.items()
                                for data in (("Validation",) if key == "InferenceLatency" else ("Validation", "Train"))
                            ]
                        },
                    }
                    if done
                    else {}
                ),
            }
        )
    return made


def add_tuned(service: StandIn, name: str, count: int, given_up: int = 0, **extra: Any) -> None:
    """A completed job with many candidates."""
    job = service.add_job(name, ends("Completed", "Completed", 3600), age=7200)
    job.candidates = candidates(name, count, given_up)
    best = max(job.candidates[:count], key=lambda each: each["FinalAutoMLJobObjectiveMetric"]["Value"])
    job.extra |= {"BestCandidate": best, **extra}


@dataclass
class Live:
    """The API server, its address, and a browser's login."""

    url: str
    token: str
    service: StandIn
    world: World

    def log_in(self, context: Any) -> None:
        """Give a browser's context an administrator's cookie."""
        context.add_cookies([{"name": "_token", "value": self.token, "url": self.url}])


@pytest.fixture(scope="session")
def live(application: Any, world: World, sagemaker: StandIn) -> Iterator[Live]:  # noqa: F811
    """The running server."""
    import uvicorn
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    server = uvicorn.Server(uvicorn.Config(application, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="admin", role="admin"))
    yield Live(f"http://127.0.0.1:{port}", token, sagemaker, world)
    server.should_exit = True
    thread.join(20)
