"""The page on boto3, run from its first block to its last as a reader would, against the embedded service."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import blocks
from tests.service.running import real_service

pytestmark = pytest.mark.slow


def test_the_boto3_page_leads_from_a_file_to_a_prediction(tmp_path: Path) -> None:
    code = [block.text for block in blocks("python") if block.page == "docs/start/boto3.md"]
    assert len(code) >= 4
    (request,) = (block.text for block in blocks("json") if block.page == "docs/start/boto3.md")
    (tmp_path / "request.json").write_text(request)
    with real_service(tmp_path / "data") as service:
        printed = subprocess.run(
            [sys.executable, "-m", "airflow_automl.cli", "env", "--data-dir", str(tmp_path / "data"), "--wait"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        script = f'set -a; eval "$1"; set +a; exec {sys.executable} page.py'
        (tmp_path / "page.py").write_text("\n".join(code))
        ended = subprocess.run(
            ["bash", "-c", script, "bash", printed], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        assert service.info.pid
    assert "Completed Completed" in ended.stdout
    assert set(ended.stdout.split()[-3:]) <= {"benign", "malignant"}
