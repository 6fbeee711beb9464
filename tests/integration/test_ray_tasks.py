"""One job on several nodes of a Ray cluster: trials of tuning, objects of batch transform; nothing is scripted."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import psutil
import pytest
from sklearn.datasets import load_digits

from tests.ray_cluster import Cluster, cluster
from tests.service.running import ROLE, RunningService, ended, real_service, request, until

pytestmark = pytest.mark.slow

TRIALS = 12
OBJECTS = 60
DIGITS = load_digits(as_frame=True)


@pytest.fixture(scope="module")
def ray() -> Iterator[Cluster]:
    with cluster(workers=2) as running:
        yield running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, ray: Cluster) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("trials")
    file = folder / "executor.toml"
    file.write_text('[executor]\ncores = 1\nmemory = "1G"\n')
    options = ["--executor", "ray", "--ray-address", ray.address, "--executor-file", str(file)]
    with real_service(folder / "data", *options, "--trials-per-job", "2") as running:
        s3 = running.client("s3")
        body = DIGITS.data.assign(digit=DIGITS.target).to_csv(index=False).encode()
        s3.put_object(Bucket="automl", Key="in/train.csv", Body=body)
        for number in range(OBJECTS):
            rows = DIGITS.data.sample(4000, replace=True, random_state=number).to_csv(index=False, header=False)
            s3.put_object(Bucket="automl", Key=f"rows/{number:02}.csv", Body=rows.encode())
        yield running


def job(name: str, mode: str = "HYPERPARAMETER_TUNING", **criteria: int) -> dict[str, Any]:
    config = {
        "TargetAttributeName": "digit",
        "Mode": mode,
        "ProblemType": "MulticlassClassification",
        "CompletionCriteria": {"MaxCandidates": TRIALS, **criteria},
    }
    objective = {"MetricName": "Accuracy"}
    found = request(name, "", AutoMLProblemTypeConfig={"TabularJobConfig": config}, AutoMLJobObjective=objective)
    found["AutoMLJobInputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] = "s3://automl/in/"
    return found


def candidates(service: RunningService, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.client().list_candidates_for_auto_ml_job(AutoMLJobName=name, MaxResults=100)[
        "Candidates"
    ]
    return found


@pytest.fixture(scope="module")
def model(service: RunningService) -> str:
    sagemaker = service.client()
    sagemaker.create_auto_ml_job_v2(**job("digits", MaxCandidates=1))
    best = ended(sagemaker, "digits", 300)["BestCandidate"]
    sagemaker.create_model(ModelName="digits", ExecutionRoleArn=ROLE, Containers=best["InferenceContainers"])
    return "digits"


def begin_transform(service: RunningService, name: str, model: str, rows: str = "rows") -> None:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://automl/{rows}/"}}
    service.client().create_transform_job(
        TransformJobName=name,
        ModelName=model,
        TransformInput={"DataSource": source, "ContentType": "text/csv", "SplitType": "Line"},
        TransformOutput={"S3OutputPath": f"s3://automl/{name}"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )


def status(service: RunningService, name: str) -> str:
    described = service.client().describe_transform_job(TransformJobName=name)
    assert described["TransformJobStatus"] != "Failed", described
    return str(described["TransformJobStatus"])


def outputs(service: RunningService, name: str) -> dict[str, bytes]:
    s3 = service.client("s3")
    listed = s3.list_objects_v2(Bucket="automl", Prefix=f"{name}/").get("Contents", ())
    found = {entry["Key"].removeprefix(f"{name}/"): entry["Key"] for entry in listed}
    return {
        relative: s3.get_object(Bucket="automl", Key=key)["Body"].read()
        for relative, key in found.items()
        if not relative.startswith(".trainer/")
    }


def attempts(ray: Cluster, name: str) -> int:
    return sum(entry["submission_id"].startswith(f"{name}.transform-") for entry in ray.request("/api/jobs/"))


def processes(node: psutil.Popen | Any, part: str) -> list[psutil.Process]:
    """The processes of a node with a text in their command line or title."""
    found = []
    for process in psutil.Process(node.pid).children(recursive=True):
        try:
            if part in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def runs(node: Any) -> bool:
    """Whether a trial runs on a node."""
    return bool(processes(node, "ray::_run"))


def trainer_and_other(ray: Cluster) -> tuple[Any, Any]:
    """The node of the only trainer, once it runs, and the one that has room for a trial."""
    here, other = until(
        lambda: (
            sorted(ray.workers, key=lambda node: not processes(node, "training.main"))
            if any(processes(node, "training.main") for node in ray.workers)
            else None
        ),
        120,
    )
    return here, other


def test_trials_run_on_several_nodes_and_a_dead_node_costs_only_its_trials(
    ray: Cluster, service: RunningService
) -> None:
    sagemaker = service.client()
    sagemaker.create_auto_ml_job_v2(**job("spread"))
    here, other = trainer_and_other(ray)
    # All nodes have one address here, and Ray takes the head for the one of the trainer.
    until(lambda: runs(other) and (runs(here) or runs(ray.head)), 120)
    until(lambda: any(entry["CandidateStatus"] == "Completed" for entry in candidates(service, "spread")), 120)
    # Any other cluster would be one that a library had started.
    assert not any(processes(node, "gcs_server") for node in ray.workers)
    until(lambda: runs(other), 60)
    ray.workers.remove(other)
    ray.kill(other)
    described = ended(sagemaker, "spread", 400)
    assert described["AutoMLJobStatus"] == "Completed", described
    found = candidates(service, "spread")
    assert len(found) == TRIALS
    assert {entry["CandidateStatus"] for entry in found} <= {"Completed", "Stopped"}, found
    log = (service.data_dir / "jobs" / "spread" / "trainer.log").read_text()
    assert "attempt 2" not in log
    ray.workers.append(ray.worker())


def test_stop_ends_the_trials_of_all_nodes(ray: Cluster, service: RunningService) -> None:
    sagemaker = service.client()
    sagemaker.create_auto_ml_job_v2(**job("stopped", MaxCandidates=200))
    _, other = trainer_and_other(ray)
    until(lambda: runs(other), 120)
    sagemaker.stop_auto_ml_job(AutoMLJobName="stopped")
    assert ended(sagemaker, "stopped")["AutoMLJobStatus"] == "Stopped"
    # Ray notices the end of the process that its tasks belong to.
    until(lambda: not any(runs(node) for node in (ray.head, *ray.workers)), 10)


def test_a_trial_that_runs_too_long_is_ended_on_every_node(ray: Cluster, service: RunningService) -> None:
    sagemaker = service.client()
    sagemaker.create_auto_ml_job_v2(**job("limited", MaxRuntimePerTrainingJobInSeconds=1))
    assert ended(sagemaker, "limited", 400)["AutoMLJobStatus"] in ("Completed", "Failed")
    found = candidates(service, "limited")
    assert len(found) == TRIALS
    assert "Failed" not in {entry["CandidateStatus"] for entry in found}, found


def test_a_dead_node_and_a_killed_service_cost_a_transform_only_what_was_under_way(
    ray: Cluster, service: RunningService, model: str
) -> None:
    begin_transform(service, "undisturbed", model)
    until(lambda: status(service, "undisturbed") == "Completed", 240)
    expected = outputs(service, "undisturbed")
    assert sorted(expected) == [f"{number:02}.csv.out" for number in range(OBJECTS)]
    assert all(body.count(b"\n") == 4000 for body in expected.values())

    begin_transform(service, "disturbed", model)
    until(lambda: all(processes(node, "ray::_work") for node in ray.workers), 120)
    until(lambda: outputs(service, "disturbed"), 60)
    service.kill()
    service.start()
    ray.kill(ray.workers.pop())
    assert status(service, "disturbed") == "InProgress"
    until(lambda: status(service, "disturbed") == "Completed", 240)
    assert outputs(service, "disturbed") == expected
    assert attempts(ray, "disturbed") == 1
    ray.workers.append(ray.worker())


def test_objects_that_cannot_be_transformed_fail_the_job_after_the_others(service: RunningService, model: str) -> None:
    s3 = service.client("s3")
    for number in range(6):
        values = ["?"] if number in (1, 4) else ["0"] * 64
        s3.put_object(Bucket="automl", Key=f"some/{number}.csv", Body=",".join(values).encode())
    begin_transform(service, "mixed", model, "some")
    describe = partial(service.client().describe_transform_job, TransformJobName="mixed")
    until(lambda: describe()["TransformJobStatus"] == "Failed", 240)
    reason = describe()["FailureReason"]
    assert "s3://automl/some/1.csv" in reason
    assert reason.endswith("(and 1 more object)")
    assert sorted(outputs(service, "mixed")) == [f"{number}.csv.out" for number in (0, 2, 3, 5)]


def test_stop_ends_the_transform_on_all_nodes(ray: Cluster, service: RunningService, model: str) -> None:
    begin_transform(service, "stopped", model)
    until(lambda: outputs(service, "stopped"), 120)
    service.client().stop_transform_job(TransformJobName="stopped")
    until(lambda: status(service, "stopped") == "Stopped", 60)
    # Ray notices the end of the process that its tasks belong to.
    until(lambda: not any(processes(node, "ray::_work") for node in ray.workers), 30)
    assert len(outputs(service, "stopped")) < OBJECTS
