"""``GET /health`` answers the status of the background tasks, without a signature."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_automl.local.background import State
from airflow_automl.local.http.application import Application
from airflow_automl.local.http.signatures import Signatures
from airflow_automl.local.state.jobs import JobStore
from airflow_automl.local.storage.client import Credentials


@pytest.mark.parametrize("signed", [False, True])
async def test_the_state_of_each_task_is_shown(jobs: JobStore, signed: bool) -> None:
    states = {"supervisor": State(), "s3-watch": State("OSError(28)", 5.0)}
    backend: Any = SimpleNamespace(jobs=jobs, background=SimpleNamespace(states=lambda: states))
    signatures = Signatures(Credentials("key", "secret")) if signed else None
    nothing: Any = None
    application = Application(backend, nothing, nothing, signatures)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await application({"type": "http", "method": "GET", "path": "/health", "headers": []}, nothing, send)
    reason = {} if signed else {"reason": "OSError(28)"}
    assert sent[0]["status"] == 200
    assert json.loads(sent[1]["body"]) == {
        "status": "failing",
        "tasks": {"supervisor": {"state": "running"}, "s3-watch": {"state": "failing", "since": 5.0, **reason}},
    }
