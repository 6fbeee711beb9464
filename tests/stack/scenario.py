"""What happens on the native stack; run inside its namespaces: ``python -m tests.stack.scenario FOLDER``."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import httpx
from botocore.exceptions import ClientError

from airflow_automl.demo import dataset
from tests.stack.compose import ROOT, load, read_env
from tests.stack.dockerfile import stages
from tests.stack.native import Image, Native, privileges

DAG_ID = "scheduled_retraining"
ENDPOINT = "churn"
RUN_WITHIN = 900.0
SERVERS = {"postgres": "/usr/lib/postgresql", "redis": "/usr/bin/redis-server"}


#: What the test that builds the images leaves in the folder: what each of them says of itself, and where its files lie.
BUILT = "images.json"


def images(folder: Path) -> dict[str, Image]:
    """The images: ours as built or as the Dockerfile says, the others as their makers document them."""
    own = {}
    if (built := folder / BUILT).exists():
        for name, image in json.loads(built.read_text()).items():
            environment = dict(pair.split("=", 1) for pair in image["Env"])
            own[name] = Image(environment, image["WorkingDir"], files=Path(image["files"]))
    else:
        found = stages(ROOT / "docker" / "Dockerfile")
        for name in ("airflow", "autopilot"):
            venv = (folder / "images" / name, "/opt/venv", True)
            own[f"airflow-automl/{name}"] = Image(found[name].environment, f"/opt/{name}", (venv,))
    binaries = sorted(Path(SERVERS["postgres"]).glob("*/bin"))[-1]
    postgres = Image({"PATH": f"{binaries}:/usr/bin:/bin", "PGDATA": "/var/lib/postgresql/data"}, stop=signal.SIGINT)
    return {**own, "postgres": postgres, "redis": Image({"PATH": "/usr/bin:/bin"})}


#: What the entry point of PostgreSQL's image does with its variables, where the service names no command.
POSTGRES = """
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    printf '%s' "$POSTGRES_PASSWORD" > /tmp/pw
    initdb --username="$POSTGRES_USER" --pwfile=/tmp/pw $POSTGRES_INITDB_ARGS
    rm /tmp/pw
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    pg_ctl -w -o "-c listen_addresses='' -k /tmp" start
    PGPASSWORD=$POSTGRES_PASSWORD createdb -h /tmp --username="$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl -w -m fast stop
fi
exec postgres -c listen_addresses='*' -k /tmp
"""


class Client:
    """Airflow's public REST API, as a user of the compose file sees it."""

    def __init__(self, url: str, password: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=60)
        assert self._http.get("/api/v2/dags").status_code == 401
        wrong = self._http.post("/auth/token", json={"username": "admin", "password": "admin"})
        assert wrong.status_code == 401, wrong.text
        token = self._http.post("/auth/token", json={"username": "admin", "password": password})
        self._http.headers["Authorization"] = f"Bearer {token.raise_for_status().json()['access_token']}"

    def get(self, path: str, **params: Any) -> Any:
        return self._http.get(f"/api/v2{path}", params=params).raise_for_status().json()

    def wait_for_dag(self) -> None:
        deadline = time.monotonic() + 180
        while self._http.get(f"/api/v2/dags/{DAG_ID}").status_code != 200:
            assert time.monotonic() < deadline, "the DAG processor did not find the DAG"
            time.sleep(1)

    def run(self) -> tuple[str, str, dict[str, set[str]]]:
        """Let the scheduler make the week's run; return its id, its state, and every state that its tasks were in."""
        self._http.patch(f"/api/v2/dags/{DAG_ID}", json={"is_paused": False}).raise_for_status()
        deadline = time.monotonic() + RUN_WITHIN
        while not (runs := self.get(f"/dags/{DAG_ID}/dagRuns")["dag_runs"]):
            assert time.monotonic() < deadline, "the scheduler made no run"
            time.sleep(1)
        run_id = runs[0]["dag_run_id"]
        seen: dict[str, set[str]] = {}
        while True:
            state = self.get(f"/dags/{DAG_ID}/dagRuns/{run_id}")["state"]
            for task in self.get(f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances")["task_instances"]:
                seen.setdefault(task["task_id"], set()).add(str(task["state"]))
            if state in {"success", "failed"}:
                return run_id, state, seen
            assert time.monotonic() < deadline, f"the run did not end within {RUN_WITHIN:.0f} s; seen: {seen}"
            time.sleep(1)

    def task_log(self, run_id: str, task_id: str) -> str:
        return str(self.get(f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task_id}/logs/1", full_content=True))


def main(folder: Path) -> None:
    variables = read_env(folder / ".env")
    document = load(ROOT / "docker-compose.yaml", {**variables, "DAGS_FOLDER": str(ROOT / "dags")})
    document["services"]["postgres"]["command"] = ["sh", "-c", POSTGRES]
    stack = Native(document, images(folder), folder)
    stack.up()
    print("all services are healthy", flush=True)

    for process, (uid, capabilities) in privileges().items():
        assert uid != 0, f"runs as root: {process}"
        assert capabilities == 0, f"has capabilities: {process}"

    def aws(service: str, port: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=f"http://127.0.0.1:{variables[port]}",
            region_name="us-east-1",
            aws_access_key_id=variables["AUTOPILOT_ACCESS_KEY"],
            aws_secret_access_key=variables["AUTOPILOT_SECRET_KEY"],
        )

    unsigned = httpx.post(
        f"http://127.0.0.1:{variables['AUTOPILOT_PORT']}/",
        headers={"X-Amz-Target": "SageMaker.ListAutoMLJobs", "Content-Type": "application/x-amz-json-1.1"},
        content="{}",
    )
    assert unsigned.status_code == 403, unsigned.text
    assert httpx.get(f"http://127.0.0.1:{variables['S3_PORT']}/automl").status_code == 403

    s3, sagemaker = aws("s3", "S3_PORT"), aws("sagemaker", "AUTOPILOT_PORT")
    split = dataset.load()
    small = dataset.Split(split.train.head(1500), split.validation.head(600), split.test.head(10))
    dataset.upload(s3, dataset.files(small))

    airflow = Client(f"http://127.0.0.1:{variables['AIRFLOW_PORT']}", variables["AIRFLOW_ADMIN_PASSWORD"])
    airflow.wait_for_dag()
    assert not airflow.get("/importErrors")["import_errors"]
    run_id, state, seen = airflow.run()
    assert state == "success", json.dumps({task: sorted(states) for task, states in seen.items()})
    assert "deferred" in seen["automl.train"], seen
    steps = ("evaluate", "decide", "train", "gate", "deploy", "report")
    assert all("success" in seen[f"automl.{step}"] for step in steps), seen
    assert "InProgress" in airflow.task_log(run_id, "automl.train")
    print("the retraining DAG ran end to end", flush=True)

    described = sagemaker.describe_endpoint(EndpointName=ENDPOINT)
    assert described["EndpointStatus"] == "InService", described
    reports = s3.list_objects_v2(Bucket=dataset.BUCKET, Prefix="churn/reports/").get("Contents", [])
    assert any(item["Key"].endswith(".html") for item in reports), reports
    row = dataset.to_csv(split.test.head(1).drop(columns=dataset.TARGET), header=False)
    first = predict(aws("sagemaker-runtime", "AUTOPILOT_PORT"), row)

    stack.down()
    print("everything ended in its time; starting again", flush=True)
    stack.up()
    again = Client(f"http://127.0.0.1:{variables['AIRFLOW_PORT']}", variables["AIRFLOW_ADMIN_PASSWORD"])
    assert again.get(f"/dags/{DAG_ID}/dagRuns/{run_id}")["state"] == "success"
    assert predict(aws("sagemaker-runtime", "AUTOPILOT_PORT"), row) == first
    sagemaker.delete_endpoint(EndpointName=ENDPOINT)
    try:
        sagemaker.describe_endpoint(EndpointName=ENDPOINT)
    except ClientError:
        pass
    else:
        raise AssertionError("the endpoint is still there")
    stack.down()
    print("the stack came back with its data, and ended", flush=True)


def predict(runtime: Any, row: bytes) -> bytes:
    """One prediction, when the endpoint has loaded its model."""
    answer = runtime.invoke_endpoint(EndpointName=ENDPOINT, ContentType="text/csv", Accept="text/csv", Body=row)
    return bytes(answer["Body"].read())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
