"""A service whose disk, S3 store or model host fails. Training and models are real."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socketserver
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from sklearn.datasets import load_breast_cancer

from airflow_automl.local.processes import Process, alive, find, members
from airflow_automl.local.state.folder import ServiceInfo
from tests.service import running
from tests.service.running import (
    ROLE,
    RunningService,
    ended,
    real_service,
    request,
    scripted_service,
    trainer_pid,
    until,
)

FRAME = load_breast_cancer(as_frame=True).frame
ROWS = FRAME.drop(columns="target").head(20).to_csv(index=False, header=False)
VARIANT = {"VariantName": "all", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1, "ModelName": "cancer"}


def put_data(service: RunningService) -> None:
    body = FRAME.to_csv(index=False).encode()
    service.client("s3").put_object(Bucket="automl", Key="in/train.csv", Body=body)


def job(name: str, mode: str, algorithm: str, **more: Any) -> dict[str, Any]:
    config = {
        "TargetAttributeName": "target",
        "Mode": mode,
        "CandidateGenerationConfig": {"AlgorithmsConfig": [{"AutoMLAlgorithms": [algorithm]}]},
        "CompletionCriteria": {"MaxCandidates": 1},
    }
    found = request(name, "", AutoMLProblemTypeConfig={"TabularJobConfig": config}, **more)
    found["AutoMLJobInputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] = "s3://automl/in/"
    return found


def kill_store(service: RunningService) -> None:
    record = json.loads((service.data_dir / "s3" / "process.json").read_text())
    os.kill(record["pid"], signal.SIGKILL)
    until(lambda: not alive(Process(record["pid"], record["started"])))


# Training


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("faulty") / "data"
    with scripted_service(folder, max_jobs=2, trainer="faulty_trainer.py") as started:
        put_data(started)
        yield started


@pytest.mark.slow
def test_a_store_that_dies_and_restarts_costs_no_job(faulty: RunningService) -> None:
    sagemaker = faulty.client()
    for name in ("pause-1", "lost-1"):
        sagemaker.create_auto_ml_job_v2(**job(name, "ENSEMBLING", "lightgbm"))
    folders = {name: faulty.data_dir / "jobs" / name for name in ("pause-1", "lost-1")}
    logs = [folder / "trainer.log" for folder in folders.values()]
    until(lambda: all(log.exists() and "waits" in log.read_text() for log in logs), 90)
    # Both are in the middle of training: they have read their data and stored nothing yet.
    kill_store(faulty)
    (folders["pause-1"] / "go").touch()
    described = ended(sagemaker, "pause-1", 120)
    assert described["AutoMLJobStatus"] == "Completed", described.get("FailureReason")
    record = faulty.data_dir / "s3" / "process.json"
    before = json.loads(record.read_text())["ports"][0]
    with closed_port(lambda: kill_store(faulty), before):
        (folders["lost-1"] / "go").touch()
        reason = ended(sagemaker, "lost-1", 120)["FailureReason"]
        assert "s3://automl/out/lost-1/" in reason
        assert "can't be reached" in reason
        # The store has moved behind the address of clients; new jobs get its new address.
        until(lambda: json.loads(record.read_text())["ports"][0] != before and _reads(faulty), 60)
        assert faulty.client("s3").head_object(Bucket="automl", Key="in/train.csv")["ContentLength"] > 1000
        sagemaker.create_auto_ml_job_v2(**job("disk-1", "ENSEMBLING", "lightgbm"))
        reason = ended(sagemaker, "disk-1", 120)["FailureReason"]
    assert os.strerror(errno.EFBIG) in reason


def _reads(service: RunningService) -> bool:
    try:
        return bool(service.client("s3").list_buckets()["Buckets"])
    except (BotoCoreError, ClientError):
        return False


@contextmanager
def closed_port(free: Callable[[], None], port: int) -> Iterator[None]:
    """A port that another program takes as soon as it is free, and on which it closes every connection."""

    class HangUp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.close()

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True

    server = Server(("127.0.0.1", port), HangUp, bind_and_activate=False)
    free()
    until(lambda: taken(server), 10)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(server.serve_forever)
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()


def taken(server: socketserver.TCPServer) -> bool:
    try:
        server.server_bind()
    except OSError:
        return False
    server.server_activate()
    return True


# Serving


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with a trained model and its endpoint."""
    with real_service(tmp_path_factory.mktemp("faults") / "data", "--max-jobs", "1") as started:
        put_data(started)
        sagemaker = started.client()
        sagemaker.create_auto_ml_job_v2(**job("cancer", "HYPERPARAMETER_TUNING", "linear-learner"))
        described = ended(sagemaker, "cancer", 120)
        assert described["AutoMLJobStatus"] == "Completed", described.get("FailureReason")
        containers = described["BestCandidate"]["InferenceContainers"]
        sagemaker.create_model(ModelName="cancer", Containers=containers, ExecutionRoleArn=ROLE)
        sagemaker.create_endpoint_config(EndpointConfigName="cancer", ProductionVariants=[VARIANT])
        sagemaker.create_endpoint(EndpointName="cancer", EndpointConfigName="cancer")
        until(lambda: sagemaker.describe_endpoint(EndpointName="cancer")["EndpointStatus"] == "InService", 60)
        started.client("s3").put_object(Bucket="automl", Key="batch/a.csv", Body=ROWS.encode())
        yield started


def host(service: RunningService) -> Process:
    """The host of all models."""
    arguments = ["", "-m", "airflow_automl.local.models.host", "--socket", str(service.data_dir / "model_host.sock")]
    found: Process = until(lambda: find(arguments), 30)
    return found


@contextmanager
def frozen(service: RunningService) -> Iterator[Process]:
    """While this holds, no model answers, so that requests stay in progress."""
    process = host(service)
    stopped = members(process)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield process
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def begin_transform(service: RunningService, name: str) -> None:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://automl/batch/"}}
    service.client().create_transform_job(
        TransformJobName=name,
        ModelName="cancer",
        TransformInput={"DataSource": source, "ContentType": "text/csv", "SplitType": "Line"},
        TransformOutput={"S3OutputPath": f"s3://automl/scored/{name}", "AssembleWith": "Line"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    # It has its object on disk, and asks the model.
    until(lambda: any(path.stat().st_size for path in service.data_dir.glob(".transform-*/in")))


def transformed(service: RunningService, name: str, seconds: float = 60) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = service.client().describe_transform_job(TransformJobName=name)
        return found if found["TransformJobStatus"] not in ("InProgress", "Stopping") else None

    found: dict[str, Any] = until(look, seconds)
    return found


def output_of(service: RunningService, name: str) -> list[str]:
    answer = service.client("s3").get_object(Bucket="automl", Key=f"scored/{name}/a.csv.out")
    lines: list[str] = answer["Body"].read().decode().split()
    return lines


def invoke(service: RunningService, body: str = ROWS) -> list[str]:
    answer = service.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="cancer", ContentType="text/csv", Body=body
    )
    lines: list[str] = answer["Body"].read().decode().split()
    return lines


def test_a_transform_that_is_stopped_leaves_nothing(service: RunningService) -> None:
    with frozen(service):
        begin_transform(service, "stopped")
        service.client().stop_transform_job(TransformJobName="stopped")
        found = transformed(service, "stopped")
    assert found["TransformJobStatus"] == "Stopped"
    assert "TransformEndTime" in found
    assert not list(service.data_dir.glob(".transform-*"))
    listed = service.client("s3").list_objects_v2(Bucket="automl", Prefix="scored/stopped/")
    assert listed["KeyCount"] == 0


def test_a_transform_outlives_the_service_and_its_store(service: RunningService) -> None:
    expected = invoke(service)
    with frozen(service):
        begin_transform(service, "restarted")
        service.kill()
    service.start()
    assert transformed(service, "restarted")["TransformJobStatus"] == "Completed"
    assert output_of(service, "restarted") == expected
    # The killed one's files went with its data.
    assert not list(service.data_dir.glob(".transform-*"))
    with pytest.raises(ClientError, match="ResourceInUse"):
        begin_transform(service, "restarted")
    with frozen(service):
        begin_transform(service, "storeless")
        kill_store(service)
    assert transformed(service, "storeless", 90)["TransformJobStatus"] == "Completed"
    assert output_of(service, "storeless") == expected


def test_a_model_host_that_dies_under_load_costs_no_request(service: RunningService) -> None:
    expected = invoke(service)
    process = host(service)
    answered = 0
    stop = False

    def ask() -> int:
        count = 0
        while not stop:
            assert invoke(service) == expected
            count += 1
        return count

    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask) for _ in range(8)]
        try:
            os.kill(process.pid, signal.SIGKILL)
            until(lambda: find_another(service, process), 60)
            assert invoke(service) == expected
        finally:
            stop = True
        answered = sum(future.result(60) for future in asking)
    assert answered >= 8


def find_another(service: RunningService, process: Process) -> bool:
    return not alive(process) and host(service) != process


def test_a_job_that_is_stopped_while_it_deploys_takes_its_endpoint_back(service: RunningService) -> None:
    sagemaker = service.client()
    invoke(service)
    with frozen(service):
        deploy = {"ModelDeployConfig": {"EndpointName": "one-click"}}
        sagemaker.create_auto_ml_job_v2(**job("deploying", "HYPERPARAMETER_TUNING", "linear-learner", **deploy))

        def secondary() -> str:
            found: str = sagemaker.describe_auto_ml_job_v2(AutoMLJobName="deploying")["AutoMLJobSecondaryStatus"]
            return found

        until(lambda: secondary() == "DeployingModel", 90)
        until(lambda: sagemaker.list_endpoints(NameContains="one-click")["Endpoints"])
        # A crash in the middle does not end the job; a stop does.
        service.kill()
    service.start()
    sagemaker = service.client()
    found = ended(sagemaker, "deploying", 90)
    assert found["AutoMLJobStatus"] == "Completed"
    assert found["ModelDeployResult"] == {"EndpointName": "one-click"}
    invoke(service)
    with frozen(service):
        deploy = {"ModelDeployConfig": {"EndpointName": "never"}}
        sagemaker.create_auto_ml_job_v2(**job("stopping", "HYPERPARAMETER_TUNING", "linear-learner", **deploy))
        until(lambda: sagemaker.list_endpoints(NameContains="never")["Endpoints"], 90)
        sagemaker.stop_auto_ml_job(AutoMLJobName="stopping")
        found = ended(sagemaker, "stopping")
    assert found["AutoMLJobStatus"] == "Stopped"
    assert "BestCandidate" in found
    assert "ModelDeployResult" not in found
    until(lambda: not sagemaker.list_endpoints(NameContains="never")["Endpoints"])
    assert [entry["ModelName"] for entry in sagemaker.list_models(NameContains="stopping")["Models"]] == []


# The disk of the service itself


class OnSmallDisk(RunningService):
    """A service of scripted jobs on a file system of 3 MB, which it alone sees."""

    def __init__(self, folder: Path, store: RunningService) -> None:
        folder.mkdir()
        info = store.info
        keys = {"AWS_ACCESS_KEY_ID": info.access_key_id, "AWS_SECRET_ACCESS_KEY": info.secret_access_key}
        options = json.dumps({"max_jobs": 1, "s3_endpoint": info.s3_endpoint_url})
        script = Path(running.__file__).with_name("scripted_service.py")
        mount = 'mount -t tmpfs -o size=3m tmpfs "$0" && cd / && exec "$@"'
        command = ["unshare", "--mount", "--map-root-user", "sh", "-c", mount, str(folder)]
        environment = ["env", *(f"{key}={value}" for key, value in keys.items())]
        self._folder = folder
        super().__init__(folder, [*command, *environment, sys.executable, str(script), str(folder), options])

    @property
    def data_dir(self) -> Path:  # type: ignore[override]
        """Wait until the service runs; return its folder as the service sees it."""
        return Path(f"/proc/{self.process.pid}/root{self._folder}") if hasattr(self, "process") else self._folder

    @data_dir.setter
    def data_dir(self, folder: Path) -> None:
        self._folder = folder

    @property
    def info(self) -> ServiceInfo:
        """What the service published; a path that is looked up as the service sees it can't be resolved."""
        return ServiceInfo(**json.loads((self.data_dir / "service.json").read_text()))


def own_file_systems() -> bool:
    command = ["unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.skipif(not own_file_systems(), reason="a process may not have file systems of its own here (unshare)")
def test_a_full_disk_loses_nothing_that_was_acknowledged(service: RunningService, tmp_path: Path) -> None:
    small = OnSmallDisk(tmp_path / "data", service)
    try:
        sagemaker = small.client()
        sagemaker.create_auto_ml_job_v2(**request("before", "phases,candidate-60,wait,candidate-70,completed"))
        trainer_pid(small, "before")
        until(lambda: "BestCandidate" in sagemaker.describe_auto_ml_job_v2(AutoMLJobName="before"))
        filler = small.data_dir / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        acknowledged = ["before"]
        tags = [{"Key": f"tag-{number}", "Value": "x" * 256} for number in range(50)]
        with pytest.raises(ClientError) as refused:
            for number in range(1000):
                sagemaker.create_auto_ml_job_v2(**request(f"n-{number}", "phases,candidate-60,completed", Tags=tags))
                acknowledged.append(f"n-{number}")
        assert refused.value.response["Error"]["Code"] == "ServiceUnavailable"
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        # It still answers reads, and the trainer continues.
        assert sagemaker.describe_auto_ml_job_v2(AutoMLJobName="before")["AutoMLJobStatus"] == "InProgress"
        (small.data_dir / "jobs" / "before").joinpath("go").touch()
        filler.unlink()
        last = f"n-{len(acknowledged) - 1}"
        sagemaker.create_auto_ml_job_v2(**request(last, "phases,candidate-60,completed"))
        for name in [*acknowledged, last]:
            found = ended(sagemaker, name, 60)
            assert (name, found["AutoMLJobStatus"], found.get("FailureReason")) == (name, "Completed", None)
        assert small.stop() == 0
    finally:
        if small.process.poll() is None:
            small.kill()
