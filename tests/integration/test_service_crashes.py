"""The service killed with -9, and everything around it: nothing acknowledged is lost, nothing runs twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_automl.local.processes import identify
from tests.service.running import (
    clean_environment,
    ended,
    gone,
    real_service,
    request,
    scripted_service,
    trainer_pid,
    until,
)

TRAINING = "phases,candidate-60,child,wait,candidate-70,completed"


def test_a_trainer_outlives_the_service_and_is_adopted(tmp_path: Path, executor: dict[str, str]) -> None:
    with scripted_service(tmp_path / "data", max_jobs=1, **executor) as service:
        service.client().create_auto_ml_job_v2(**request("adopted", TRAINING))
        service.client().create_auto_ml_job_v2(**request("waiting", "phases,candidate-50,completed"))
        pid = trainer_pid(service, "adopted")
        service.client("s3").put_object(Bucket="automl", Key="kept", Body=b"object")
        store = service.info.s3_endpoint_url
        service.kill()
        assert identify(pid)
        service.start()
        assert trainer_pid(service, "adopted") == pid
        (service.data_dir / "jobs" / "adopted" / "go").touch()
        sagemaker = service.client()
        job = ended(sagemaker, "adopted")
        assert job["AutoMLJobStatus"] == "Completed"
        assert job["BestCandidate"]["CandidateName"] == "adopted-2"
        log = (service.data_dir / "jobs" / "adopted" / "trainer.log").read_text()
        assert log.count("runs") == 1
        assert ended(sagemaker, "waiting")["AutoMLJobStatus"] == "Completed"
        assert service.info.s3_endpoint_url == store
        assert service.client("s3").get_object(Bucket="automl", Key="kept")["Body"].read() == b"object"


def test_a_trainer_that_finished_meanwhile_is_not_run_again(tmp_path: Path, executor: dict[str, str]) -> None:
    with scripted_service(tmp_path / "data", max_jobs=1, **executor) as service:
        service.client().create_auto_ml_job_v2(**request("meanwhile", TRAINING))
        pid = trainer_pid(service, "meanwhile")
        service.kill()
        (service.data_dir / "jobs" / "meanwhile" / "go").touch()
        until(lambda: identify(pid) is None)
        service.start()
        job = ended(service.client(), "meanwhile")
        assert job["AutoMLJobStatus"] == "Completed"
        assert (service.data_dir / "jobs" / "meanwhile" / "trainer.log").read_text().count("runs") == 1
        assert gone(pid)


def test_a_job_that_lost_its_trainer_starts_over_and_its_status_never_goes_back(tmp_path: Path) -> None:
    with scripted_service(tmp_path / "data", max_jobs=1) as service:
        script = "phases,candidate-60,begin,firstwait,candidate-70,completed"
        service.client().create_auto_ml_job_v2(**request("again", script))
        pid = trainer_pid(service, "again")
        until(lambda: "BestCandidate" in service.client().describe_auto_ml_job_v2(AutoMLJobName="again"))
        service.kill()
        os.kill(pid, signal.SIGKILL)
        until(lambda: identify(pid) is None)
        service.start()
        sagemaker = service.client()
        described = sagemaker.describe_auto_ml_job_v2(AutoMLJobName="again")
        assert described["AutoMLJobSecondaryStatus"] in ("TrainingModels", "Completed")
        job = ended(sagemaker, "again")
        assert job["AutoMLJobStatus"] == "Completed"
        assert job["BestCandidate"]["FinalAutoMLJobObjectiveMetric"]["Value"] == 0.7
        assert (service.data_dir / "jobs" / "again" / "trainer.log").read_text().count("runs") == 2


def test_half_a_line_of_a_killed_trainer_swallows_nothing(tmp_path: Path) -> None:
    with scripted_service(tmp_path / "data", max_jobs=1) as service:
        # The second attempt finds its go-ahead already there.
        service.client().create_auto_ml_job_v2(**request("half", "half,phases,candidate-60,completed"))
        pid = trainer_pid(service, "half")
        service.kill()
        os.kill(pid, signal.SIGKILL)
        (service.data_dir / "jobs" / "half" / "go").touch()
        service.start()
        job = ended(service.client(), "half")
        assert job["AutoMLJobStatus"] == "Completed"
        assert job["ResolvedAttributes"]["AutoMLJobObjective"] == {"MetricName": "AUC"}


def test_a_stop_is_remembered(tmp_path: Path, executor: dict[str, str]) -> None:
    with scripted_service(tmp_path / "data", max_jobs=1, **executor) as service:
        service.client().create_auto_ml_job_v2(**request("stopping", TRAINING))
        pid = trainer_pid(service, "stopping")
        # The service is killed at the time of the stop, so it can't act on the request.
        service.client().stop_auto_ml_job(AutoMLJobName="stopping")
        service.kill()
        service.start()
        assert ended(service.client(), "stopping")["AutoMLJobStatus"] == "Stopped"
        assert gone(pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_clean_end_leaves_no_process_and_jobs_start_over(tmp_path: Path, number: int) -> None:
    with scripted_service(tmp_path / "data", max_jobs=1) as service:
        service.client().create_auto_ml_job_v2(**request("later", "phases,firstwait,candidate-60,completed"))
        pid = trainer_pid(service, "later")
        assert service.stop(number) == 0
        assert gone(pid)
        leftover = [
            entry.name
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and identify(int(entry.name)) and _works_in(entry, service.data_dir)
        ]
        assert not leftover
        assert not (service.data_dir / "service.json").exists()
        service.start()
        assert ended(service.client(), "later")["AutoMLJobStatus"] == "Completed"


def _works_in(entry: Path, folder: Path) -> bool:
    try:
        return (entry / "cwd").resolve().is_relative_to(folder.resolve())
    except OSError:
        return False


def test_the_s3_store_is_started_again_when_it_dies(tmp_path: Path) -> None:
    with scripted_service(tmp_path / "data", max_jobs=0) as service:
        objects = service.client("s3", connect_timeout=2, read_timeout=5)
        objects.put_object(Bucket="automl", Key="kept", Body=b"object" * 1000)
        process = int((service.data_dir / "s3" / "process.json").read_text().split('"pid": ')[1].split(",")[0])
        os.kill(process, signal.SIGKILL)

        def back() -> bytes | None:
            try:
                body: bytes = objects.get_object(Bucket="automl", Key="kept")["Body"].read()
            except Exception:
                return None
            return body

        assert until(back, 30) == b"object" * 1000


def test_a_second_service_on_the_same_folder_refuses_to_start(tmp_path: Path) -> None:
    with real_service(tmp_path / "data", "--max-jobs", "0") as service:
        command = [sys.executable, "-m", "airflow_automl.cli", "local", "--port", "0", "--data-dir", service.data_dir]
        second = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=30)
        assert second.returncode == 1
        assert second.stdout == ""
        assert len(second.stderr.splitlines()) == 2
        assert f"pid {service.process.pid}" in second.stderr
        assert service.client().list_auto_ml_jobs()["AutoMLJobSummaries"] == []


def test_a_failure_that_was_reported_is_not_run_again(tmp_path: Path) -> None:
    with scripted_service(tmp_path / "data", max_jobs=1) as service:
        service.client().create_auto_ml_job_v2(**request("failing", "phases,failed,child,firstwait"))
        trainer_pid(service, "failing")
        events = service.data_dir / "jobs" / "failing" / "events.jsonl"
        until(lambda: '"failed"' in events.read_text())
        service.kill()
        service.start()
        assert ended(service.client(), "failing")["FailureReason"] == "The column 'target' is not in the data"
        assert (service.data_dir / "jobs" / "failing" / "trainer.log").read_text().count("runs") == 1


def test_another_s3_store_can_be_named(tmp_path: Path) -> None:
    with real_service(tmp_path / "store", "--max-jobs", "0") as store:
        info = store.info
        keys = ["--access-key", info.access_key_id, "--secret-key", info.secret_access_key]
        arguments = ["--max-jobs", "0", "--s3-endpoint", info.s3_endpoint_url]
        with real_service(tmp_path / "data", *arguments, *keys) as service:
            service.client("s3").put_object(Bucket="automl", Key="shared", Body=b"object")
            assert store.client("s3").get_object(Bucket="automl", Key="shared")["Body"].read() == b"object"
        assert not list((tmp_path / "data" / "s3").iterdir())
        command = [sys.executable, "-m", "airflow_automl.cli", "local", "--port", "0", "--log-level", "error"]
        wrong = subprocess.run(
            [*command, "--data-dir", str(tmp_path / "wrong"), *arguments],
            capture_output=True,
            text=True,
            env=clean_environment(),
            timeout=60,
        )
        assert (wrong.returncode, wrong.stdout) == (1, "")
        assert f"the S3 store at {info.s3_endpoint_url} can't be used" in wrong.stderr
