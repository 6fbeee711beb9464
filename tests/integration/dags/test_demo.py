"""``airflow-automl demo``: Ctrl-C in the middle."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

PATIENCE = 180.0


def test_ctrl_c_in_the_middle_leaves_no_process_behind(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    output = tmp_path / "output.txt"
    with output.open("wb") as stream:
        demo = subprocess.Popen(
            [sys.executable, "-m", "airflow_automl.cli", "demo", "--folder", str(folder)],
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until(lambda: "In progress, training models" in output.read_text() or demo.poll() is not None)
        assert demo.poll() is None, output.read_text()
        assert _processes_of(folder), "the demo's children name its folder"

        demo.send_signal(signal.SIGINT)

        assert demo.wait(timeout=90) == 130
        assert "stopped" in output.read_text()
        _wait_until(lambda: not _processes_of(folder))
    finally:
        demo.kill()
        demo.wait()


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.2)


def _processes_of(folder: Path) -> list[psutil.Process]:
    """Everything alive that has the folder in its command line, its environment or as its working folder."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.cwd(), process.environ().get("AIRFLOW_HOME", "")]
        except psutil.Error:
            continue
        if process.status() != psutil.STATUS_ZOMBIE and any(str(folder) in word for word in words):
            found.append(process)
    return found
