"""``airflow-automl jobs`` shows the newest jobs of any folder that can be read, page by page, or says why not."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from airflow_automl.cli import main
from airflow_automl.local.state.database import Database
from airflow_automl.local.state.folder import DataFolder
from airflow_automl.local.state.jobs import JobStore


def write_jobs(folder: Path, count: int) -> None:
    database = Database(folder / "state.db")
    jobs = JobStore(database)
    for number in range(count):
        jobs.add(f"job-{number:03d}", f"arn:{number}", "V2", {})
    jobs.stop("job-001")
    database.close()


def listed(capsys: pytest.CaptureFixture[str], folder: Path, *options: str) -> tuple[list[str], str]:
    assert main(["jobs", "--data-dir", str(folder), *options]) == 0
    output = capsys.readouterr().out
    return re.findall(r"^job-\d+", output, re.MULTILINE), output.splitlines()[-1]


def refused(capsys: pytest.CaptureFixture[str], folder: Path) -> str:
    assert main(["jobs", "--data-dir", str(folder)]) == 1
    line, _link = capsys.readouterr().err.splitlines()
    return line


def test_the_newest_fifty_are_shown_and_how_to_see_older_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_jobs(tmp_path, 120)
    names, last = listed(capsys, tmp_path)
    assert names == [f"job-{number:03d}" for number in range(119, 69, -1)]
    assert "--before job-070" in last
    names, _ = listed(capsys, tmp_path, "--before", "job-070", "--limit", "2")
    assert names == ["job-069", "job-068"]
    names, last = listed(capsys, tmp_path, "--status", "Stopping")
    assert names == ["job-001"]
    assert "--before" not in last


LONG = "a-name-of-thirty-two-characters-"[:31] + "x"


def write_measured_job(folder: Path) -> None:
    database = Database(folder / "state.db")
    jobs = JobStore(database)
    jobs.add(LONG, "arn:1", "V2", {})
    jobs.begin_attempt(LONG, 1.0)
    document = {
        "CandidateName": "c",
        "CandidateStatus": "Completed",
        "FinalAutoMLJobObjectiveMetric": {"MetricName": "AverageWeightedQuantileLoss", "Value": 0.123456},
    }
    jobs.put_candidate(LONG, document, {}, 1)
    jobs.set_phase(LONG, "GeneratingModelInsightsReport")
    database.close()


@pytest.mark.parametrize("width", [70, 80, 100, 140])
def test_the_table_fits_the_terminal_and_cuts_no_number(
    tmp_path: Path, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_measured_job(tmp_path)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["jobs", "--data-dir", str(tmp_path)]) == 0
    header, row = capsys.readouterr().out.splitlines()[:2]
    assert max(len(header), len(row)) <= width
    assert {"NAME", "STATUS", "BEST", "RUNTIME"} <= set(header.split())
    cells = row.split()
    assert cells[0] == LONG
    assert "In progress" in row
    assert "0.123456" in cells
    assert ("AverageWeightedQuantileLoss" in cells) == ("METRIC" in header)
    assert ("GeneratingModelInsightsReport" in cells) == ("SECONDARY" in header)


def test_piped_output_has_every_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_measured_job(tmp_path)
    assert main(["jobs", "--data-dir", str(tmp_path)]) == 0
    header, row = capsys.readouterr().out.splitlines()[:2]
    assert header.split() == ["NAME", "STATUS", "SECONDARY", "CREATED", "RUNTIME", "CANDIDATES", "BEST", "METRIC"]
    assert row.split()[-3:] == ["1/1", "0.123456", "AverageWeightedQuantileLoss"]


def test_jobs_are_chosen_by_name_and_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_jobs(tmp_path, 120)
    assert listed(capsys, tmp_path, "--name", "B-11", "--limit", "2")[0] == ["job-119", "job-118"]
    assert len(listed(capsys, tmp_path, "--since", "1h", "--limit", "9" * 20)[0]) == 120
    assert listed(capsys, tmp_path, "--since", "2999-01-01")[0] == []


@pytest.mark.parametrize("since", ["yesterday", "7", "-1d", "2026-13-01"])
def test_a_time_that_is_none_is_refused(tmp_path: Path, since: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["jobs", "--data-dir", str(tmp_path), f"--since={since}"])
    assert f"{since!r} is neither an age nor a time" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--limit", "-3"], "'-3' is not valid: give a whole number, 1 or more"),
        (["--limit", "many"], "'many' is not valid: give a whole number, 1 or more"),
        (["--status", "Ended"], "choose from 'InProgress', 'Stopping', 'Completed', 'Failed', 'Stopped'"),
    ],
)
def test_an_option_that_is_not_valid_is_refused_in_plain_words(
    tmp_path: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["jobs", "--data-dir", str(tmp_path), *options])
    assert said in capsys.readouterr().err


def test_json_has_every_job_of_the_page_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_measured_job(tmp_path)
    assert main(["jobs", "--json", "--data-dir", str(tmp_path)]) == 0
    answer = json.loads(capsys.readouterr().out)
    (job,) = answer["jobs"]
    assert answer["more"] is False
    assert (job["name"], job["metric"], job["value"]) == (LONG, "AverageWeightedQuantileLoss", 0.123456)
    assert (job["candidates"], job["completed_candidates"], job["ended"]) == (1, 1, None)
    assert datetime.fromisoformat(job["created"]).tzinfo is not None


def test_endpoint_metrics_fit_the_terminal_and_are_available_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_measured_job(tmp_path)
    totals = {"invocations": 123456, "errors_5xx": 0, "p50_ms": 12.5, "p99_ms": 1234.5}
    DataFolder(tmp_path).metrics.write_text(json.dumps({f"{'e' * 60}/AllTraffic": totals}))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "70")
    assert main(["jobs", "--endpoints", "--data-dir", str(tmp_path)]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert max(len(header), len(row)) <= 70
    assert {"123456", "12.5", "1234.5"} < set(row.split())
    assert row.split()[0].endswith("…"), "only the name is cut"
    assert main(["jobs", "--endpoints", "--json", "--data-dir", str(tmp_path)]) == 0
    (variant,) = json.loads(capsys.readouterr().out)["endpoints"]
    assert variant == {"variant": f"{'e' * 60}/AllTraffic", **totals}


@pytest.mark.parametrize(
    ("status", "secondary", "request_", "said"),
    [
        ("Completed", "MaxCandidatesReached", {}, "Completed at MaxCandidates"),
        ("Completed", "MaxAutoMLJobRuntimeReached", {}, "Completed at the runtime limit"),
        ("Completed", "Completed", {"ModelDeployConfig": {"EndpointName": "e"}}, "Completed, not deployed"),
        ("Stopped", "Stopped", {}, "Stopped"),
    ],
)
def test_a_jobs_end_has_the_words_of_the_pages(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    status: str,
    secondary: str,
    request_: dict[str, object],
    said: str,
) -> None:
    write_measured_job(tmp_path)
    database = Database(tmp_path / "state.db")
    database.execute(
        "UPDATE jobs SET status = ?, secondary = ?, stage = 'ended', best = 'c', request = ?",
        (status, secondary, json.dumps(request_)),
    )
    database.close()
    assert main(["jobs", "--data-dir", str(tmp_path)]) == 0
    assert f"  {said}  " in capsys.readouterr().out
    assert main(["jobs", "--json", "--data-dir", str(tmp_path)]) == 0
    (job,) = json.loads(capsys.readouterr().out)["jobs"]
    assert (job["status"], job["secondary_status"], job["end"]) == (status, secondary, said)


@contextmanager
def nobody(folder: Path) -> Iterator[None]:
    """Run as a user who may read a folder and not write it: root may write everything."""
    folder.chmod(0o555)
    for file in folder.iterdir():
        file.chmod(0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder whose parents everybody may enter."""
    folder = Path(tempfile.mkdtemp(prefix="automl-test-"))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("crashed", [False, True], ids=["stopped", "crashed"])
def test_a_read_only_folder_is_listed(open_folder: Path, crashed: bool, capsys: pytest.CaptureFixture[str]) -> None:
    write_jobs(open_folder, 1)
    if crashed:
        # What is in the log beside the database counts too, also without the index of that log.
        database = Database(open_folder / "state.db")
        JobStore(database).add("job-777", "arn:777", "V2", {})
        for name in ("state.db", "state.db-wal"):
            shutil.copyfile(open_folder / name, open_folder / f"{name}.copy")
        database.close()
        for name in ("state.db", "state.db-wal"):
            (open_folder / f"{name}.copy").rename(open_folder / name)
    with nobody(open_folder):
        names, _ = listed(capsys, open_folder)
    assert names == ["job-777", "job-000"][not crashed :]


def test_the_folder_of_an_earlier_release_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_jobs(tmp_path, 2)
    database = Database(tmp_path / "state.db")
    database.execute("DROP INDEX jobs_by_created")
    database.close()
    assert listed(capsys, tmp_path)[0] == ["job-001", "job-000"]


@pytest.mark.parametrize("damage", [b"this is not a database" * 100, b"SQLite format 3\0" + b"\0" * 5000])
def test_a_damaged_state_is_named(tmp_path: Path, damage: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state.db").write_bytes(damage)
    assert "can't be read" in (line := refused(capsys, tmp_path))
    assert str(tmp_path / "state.db") in line


def test_a_damaged_page_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_jobs(tmp_path, 100)
    content = bytearray((tmp_path / "state.db").read_bytes())
    # Everything but the schema in front.
    content[8 * 4096 :] = b"\xff" * (len(content) - 8 * 4096)
    (tmp_path / "state.db").write_bytes(content)
    assert "can't be read" in refused(capsys, tmp_path)
