"""The report in a real browser: no errors, no requests, light and dark mode."""

from __future__ import annotations

import json
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest

from airflow_automl.report import build, render
from tests.unit.report.samples import candidate, describe

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

#: What the net log calls the origin of requests that no page made.
BROWSER = "not an origin"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

PROBLEMS: dict[str, dict[str, Any]] = {
    "binary": {
        "confusion_matrix": {"labels": ["No", "Yes"], "rows": [[761, 67], [144, 155]]},
        "roc": {"fpr": [0.0, 0.1, 0.4, 1.0], "tpr": [0.0, 0.6, 0.9, 1.0]},
        "precision_recall": {"recall": [0.0, 0.5, 1.0], "precision": [1.0, 0.7, 0.3]},
    },
    "multiclass": {"confusion_matrix": {"labels": ["a", "b", "c"], "rows": [[9, 1, 0], [2, 8, 0], [0, 1, 9]]}},
    "regression": {
        "predictions": {"actual": [1.0, 2.0, 3.0], "predicted": [1.2, 1.9, 3.3]},
        "residuals": {"counts": [1, 4, 2], "edges": [-1.0, -0.3, 0.3, 1.0]},
    },
    "failed": {},
}


def page(problem: str) -> str:
    if problem == "failed":
        reason = "The target column 'churn' is not in the data <script>alert(1)</script>"
        return render(build(describe(AutoMLJobStatus="Failed", FailureReason=reason), []))
    metric = "RMSE" if problem == "regression" else "Accuracy"
    rows = [candidate(f"candidate-{number}", 0.7 + number / 50, number, metric) for number in range(6)]
    insights = {**PROBLEMS[problem], "feature_importance": {"tenure": 0.08, "contract": 0.07}}
    return render(build(describe(BestCandidate=rows[-1]), rows, insights=insights))


def browse(folder: Path, *options: str, width: int = 1200) -> tuple[Path, str]:
    """Open the page; return the screenshot and what the browser logged."""
    shot = folder / "shot.png"
    done = subprocess.run(
        [
            str(CHROMIUM),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"),
            *("--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars", "--enable-logging=stderr"),
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            *(f"--user-data-dir={folder / 'profile'}", f"--log-net-log={folder / 'net.json'}"),
            *(f"--window-size={width},1400", f"--screenshot={shot}", *options, f"file://{folder / 'report.html'}"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return shot, done.stderr


def pixels(shot: Path) -> bytes:
    """Return the decompressed pixel data of a PNG."""
    content, data, at = shot.read_bytes(), b"", 8
    while at < len(content):
        length = int.from_bytes(content[at : at + 4])
        if content[at + 4 : at + 8] == b"IDAT":
            data += content[at + 8 : at + 8 + length]
        at += length + 12
    return zlib.decompress(data)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_report_loads_nothing_and_complains_of_nothing(tmp_path: Path, problem: str) -> None:
    (tmp_path / "report.html").write_text(page(problem))
    shot, log = browse(tmp_path)
    assert "CONSOLE" not in log, log
    assert len(set(pixels(shot))) > 20, "the page is blank"
    assert asked_for(tmp_path) == set()


def asked_for(folder: Path) -> set[str]:
    """Return the addresses that the page requested, without those that the browser itself requested."""
    events = json.loads((folder / "net.json").read_text())["events"]
    requests = [event["params"] for event in events if "initiator" in event.get("params", {})]
    return {each["url"] for each in requests if each.get("url", "").startswith("http") and each["initiator"] != BROWSER}


def test_a_page_that_does_load_something_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text('<img src="http://127.0.0.1:9/x.png"><script>console.error("x")</script>')
    _, log = browse(tmp_path)
    assert "CONSOLE" in log
    assert asked_for(tmp_path) == {"http://127.0.0.1:9/x.png"}


def test_light_and_dark_differ(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(page("binary"))
    light = pixels(browse(tmp_path)[0])
    dark = pixels(browse(tmp_path, "--blink-settings=preferredColorScheme=0")[0])
    assert light != dark
