"""What happens with the profile `ray`; run inside namespaces: ``python -m tests.stack.ray_scenario FOLDER``.

Each node of Ray has a network of its own as a container has, beside that of the other services.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import httpx
from sklearn.datasets import load_breast_cancer

from airflow_automl.contract import tabular
from tests.service.running import ROLE
from tests.stack.compose import ROOT, load, read_env
from tests.stack.dockerfile import stages
from tests.stack.native import Image, Native, privileges

NODES = ("ray-head", "ray-worker-1", "ray-worker-2")
OTHERS = ("s3", "autopilot")
_NETWORK = "10.77.0."


class Cluster(Native):
    """The S3 store, the embedded Autopilot, and the nodes, each in a network of its own."""

    def __init__(self, document: Mapping[str, Any], images: Mapping[str, Image], folder: Path) -> None:
        services = {name: document["services"][name] for name in (*OTHERS, *NODES)}
        super().__init__({**document, "services": services}, images, folder, ["ray"])
        self._temporary = folder / "tmp"
        addresses = {name: f"{_NETWORK}{number}" for number, name in enumerate(NODES, start=2)}
        hosts = ["127.0.0.1 localhost", *(f"{_NETWORK}1 {name}" for name in OTHERS)]
        hosts += [f"{address} {name}" for name, address in addresses.items()]
        Path("/etc/hosts").write_text("\n".join(hosts) + "\n")
        _ip("link add stack type bridge", f"addr add {_NETWORK}1/24 dev stack", "link set stack up")
        for name, address in addresses.items():
            outside = f"v{address.rpartition('.')[2]}"
            _ip(f"netns add {name}", f"link add {outside} type veth peer name eth0 netns {name}")
            _ip(f"link set {outside} master stack up", f"-n {name} link set lo up")
            _ip(f"-n {name} addr add {address}/24 dev eth0", f"-n {name} link set eth0 up")

    def command(self, name: str, command: list[str] | None = None) -> list[str]:
        """How a command is run in a service, and in the network of its node."""
        inner = super().command(name, command)
        return ["ip", "netns", "exec", name, *inner] if name in NODES else inner

    def _mounts(self, name: str) -> Iterator[tuple[Path, str, bool]]:
        yield from super()._mounts(name)
        own = self._temporary / name
        own.mkdir(parents=True, exist_ok=True)
        own.chmod(0o1777)
        yield own, "/tmp", False


def _ip(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


def main(folder: Path) -> None:
    example = re.findall(r"^#(\w+)=(.*)$", (ROOT / "docker" / "env.example").read_text(), re.MULTILINE)
    # As the comment there says: Ray lets those wait that don't fit.
    variables = read_env(folder / ".env") | dict(example) | {"AUTOPILOT_JOBS": "100"}
    found = stages(ROOT / "docker" / "Dockerfile")
    images = {
        f"airflow-automl/{name}": Image(
            found[name].environment, "/opt/autopilot", ((folder / "images" / name, "/opt/venv", True),)
        )
        for name in ("autopilot", "ray")
    }
    stack = Cluster(load(ROOT / "docker-compose.yaml", variables), images, folder)
    stack.up()
    print("all services are healthy", flush=True)
    for process, (uid, capabilities) in privileges().items():
        assert (uid == 0, capabilities) == (False, 0), process

    serve = [*stack.services["autopilot"]["command"], "--check"]
    checked = subprocess.run(stack.command("autopilot", serve), capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("reaches the S3 store") == len(NODES), checked.stdout
    print(checked.stdout, flush=True)

    def aws(service: str, port: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=f"http://127.0.0.1:{variables[port]}",
            region_name="us-east-1",
            aws_access_key_id=variables["AUTOPILOT_ACCESS_KEY"],
            aws_secret_access_key=variables["AUTOPILOT_SECRET_KEY"],
        )

    s3, sagemaker = aws("s3", "S3_PORT"), aws("sagemaker", "AUTOPILOT_PORT")
    body = load_breast_cancer(as_frame=True).frame.to_csv(index=False).encode()
    s3.put_object(Bucket="automl", Key="cancer/train.csv", Body=body)
    for name in ("one", "two"):
        config = tabular("s3://automl/cancer/", target="target", algorithms=["lightgbm"], max_candidates=1)
        output = {"S3OutputPath": "s3://automl/out/"}
        sagemaker.create_auto_ml_job_v2(AutoMLJobName=name, RoleArn=ROLE, OutputDataConfig=output, **config)
    for name in ("one", "two"):
        deadline = time.monotonic() + 400
        while (job := sagemaker.describe_auto_ml_job_v2(AutoMLJobName=name))["AutoMLJobStatus"] == "InProgress":
            assert time.monotonic() < deadline, job
            time.sleep(0.5)
        assert job["AutoMLJobStatus"] == "Completed", job

    jobs = f"http://{_NETWORK}2:8265/api/jobs/"
    assert httpx.get(jobs).status_code in (401, 403)
    token = {"Authorization": f"Bearer {variables['RAY_TOKEN']}"}
    listed = httpx.get(jobs, headers=token).raise_for_status().json()
    # The tasks of the check and of the transform are entries, too.
    ran = {
        entry["driver_agent_http_address"] for entry in listed if (entry["metadata"] or {}).get("job") in ("one", "two")
    }
    assert {address.split("/")[2].split(":")[0] for address in ran} == {f"{_NETWORK}3", f"{_NETWORK}4"}

    _transform(sagemaker, s3, job)
    stack.down()
    print("jobs ran on both workers, and the cluster ended", flush=True)


def _transform(sagemaker: Any, s3: Any, job: Mapping[str, Any]) -> None:
    containers = job["BestCandidate"]["InferenceContainers"]
    sagemaker.create_model(ModelName="cancer", ExecutionRoleArn=ROLE, Containers=containers)
    rows = load_breast_cancer(as_frame=True).data.to_csv(index=False, header=False).encode()
    for number in range(4):
        s3.put_object(Bucket="automl", Key=f"rows/{number}.csv", Body=rows)
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://automl/rows/"}}
    sagemaker.create_transform_job(
        TransformJobName="score",
        ModelName="cancer",
        TransformInput={"DataSource": source, "ContentType": "text/csv", "SplitType": "Line"},
        TransformOutput={"S3OutputPath": "s3://automl/scores"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    deadline = time.monotonic() + 300
    while (found := sagemaker.describe_transform_job(TransformJobName="score"))["TransformJobStatus"] == "InProgress":
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    assert found["TransformJobStatus"] == "Completed", found
    scores = [s3.get_object(Bucket="automl", Key=f"scores/{number}.csv.out")["Body"].read() for number in range(4)]
    assert len(set(scores)) == 1
    assert len(scores[0].splitlines()) == len(rows.splitlines())
    print("a transform ran on the workers", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
