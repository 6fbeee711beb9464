"""Trainers do not read AWS settings of the service's environment that would redirect them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from airflow_automl.local.jobs.executors.local import LocalExecutor
from airflow_automl.local.state.folder import DataFolder
from tests.service.running import until

SCRIPT = "import json, os, sys; open(sys.argv[1] + '/env.json', 'w').write(json.dumps(dict(os.environ)))"


def test_settings_that_would_redirect_a_trainer_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ENDPOINT_URL", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
        monkeypatch.setenv(name, "true")
    folder = DataFolder(tmp_path)
    folder.prepare()
    executor = LocalExecutor(folder, [sys.executable, "-c", SCRIPT], lambda: {"AWS_ENDPOINT_URL_S3": "http://store"})
    handle = executor.start({"name": "job", "attempt": 1, "threads": 1})
    until(lambda: not executor.state(handle).running)
    environment = json.loads((folder.job("job") / "env.json").read_text())
    given = {name for name in environment if "PROFILE" in name or "ENDPOINT" in name}
    assert given == {"AWS_ENDPOINT_URL_S3"}
    assert executor.stop(handle)
