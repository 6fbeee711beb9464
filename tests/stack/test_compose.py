"""docker-compose.yaml, .env and the Dockerfile, as far as they can be checked without a container engine."""

from __future__ import annotations

import argparse
import fnmatch
import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import airflow_automl
from airflow_automl.local.commands import serve
from airflow_automl.local.commands.env import connection
from airflow_automl.local.jobs.specification import Share
from airflow_automl.local.state.folder import ServiceInfo
from tests.stack.compose import ROOT, ComposeError, interpolate, load, read_env
from tests.stack.dockerfile import stages

COMPOSE = ROOT / "docker-compose.yaml"
SECRETS = (
    "AIRFLOW_ADMIN_PASSWORD",
    "AIRFLOW_FERNET_KEY",
    "AIRFLOW_SECRET_KEY",
    "AIRFLOW_JWT_SECRET",
    "POSTGRES_PASSWORD",
    "REDIS_PASSWORD",
    "AUTOPILOT_ACCESS_KEY",
    "AUTOPILOT_SECRET_KEY",
)
RAY = ("ray-head", "ray-worker-1", "ray-worker-2")


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    target = tmp_path_factory.mktemp("env") / ".env"
    subprocess.run([ROOT / "docker" / "make-env.sh", target], check=True, capture_output=True)
    assert target.stat().st_mode & 0o777 == 0o600
    return read_env(target)


@pytest.fixture(scope="module")
def document(variables: dict[str, str]) -> dict[str, Any]:
    return load(COMPOSE, variables)


def test_the_env_script_fills_every_place_with_a_secret_of_its_own(variables: dict[str, str]) -> None:
    from cryptography.fernet import Fernet

    secrets = [variables[name] for name in SECRETS]
    assert len(set(secrets)) == len(SECRETS)
    assert all(len(secret) >= 20 for secret in secrets)
    Fernet(variables["AIRFLOW_FERNET_KEY"])
    assert all(variables.values())


def test_the_env_script_leaves_an_existing_file_alone(tmp_path: Path) -> None:
    target = tmp_path / ".env"
    target.write_text("mine")
    done = subprocess.run([ROOT / "docker" / "make-env.sh", target], capture_output=True, text=True, check=False)
    assert (done.returncode, target.read_text()) == (1, "mine")
    assert "stays as it is" in done.stderr


@pytest.mark.parametrize("missing", SECRETS)
def test_the_stack_does_not_start_without_a_secret(variables: dict[str, str], missing: str) -> None:
    for broken in ({**variables, missing: ""}, {key: value for key, value in variables.items() if key != missing}):
        with pytest.raises(ComposeError, match=f"{missing} is missing a value: run docker/make-env.sh"):
            load(COMPOSE, broken)


def test_every_variable_is_explained_in_the_example() -> None:
    example = (ROOT / "docker" / "env.example").read_text()
    used = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    assert used | {"COMPOSE_PROFILES"} == set(re.findall(r"^#?(\w+)=", example, re.MULTILINE))
    for paragraph in example.strip().split("\n\n"):
        assert paragraph.startswith("#"), f"no comment above:\n{paragraph}"


def test_the_whole_stack_is_there(document: dict[str, Any]) -> None:
    assert set(document["services"]) == {
        *("postgres", "redis", "s3", "autopilot", "airflow-init", "airflow-api-server", "airflow-scheduler"),
        *("airflow-dag-processor", "airflow-triggerer", "airflow-worker"),
        *RAY,
    }
    named = {volume.split(":")[0] for service in document["services"].values() for volume in service.get("volumes", ())}
    assert set(document["volumes"]) == {name for name in named if not name.startswith(".")}


def test_every_service_is_watched_waited_for_and_without_privileges(document: dict[str, Any]) -> None:
    for name, service in document["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service["user"].startswith(("0", "root")), name
        assert ("healthcheck" in service) is (name != "airflow-init"), name
        for needed, how in service.get("depends_on", {}).items():
            assert needed in document["services"]
            expected = "service_completed_successfully" if needed == "airflow-init" else "service_healthy"
            assert how["condition"] == expected, (name, needed)


def test_ports_are_published_on_loopback_only(document: dict[str, Any]) -> None:
    published = [port for service in document["services"].values() for port in service.get("ports", ())]
    assert sorted(published) == ["127.0.0.1:4566:4566", "127.0.0.1:8080:8080", "127.0.0.1:8333:8333"]


def test_no_secret_is_an_argument_or_lies_in_the_file(document: dict[str, Any], variables: dict[str, str]) -> None:
    for name, service in document["services"].items():
        shown = json.dumps([service.get("command"), service.get("entrypoint"), service.get("healthcheck")])
        assert not [secret for secret in SECRETS if variables[secret] in shown], name


def test_the_connection_is_the_one_that_the_service_prints(document: dict[str, Any], variables: dict[str, str]) -> None:
    info = ServiceInfo(
        pid=1,
        started=1,
        endpoint_url="http://autopilot:4566",
        s3_endpoint_url="http://s3:8333",
        region="us-east-1",
        account="123456789012",
        access_key_id=variables["AUTOPILOT_ACCESS_KEY"],
        secret_access_key=variables["AUTOPILOT_SECRET_KEY"],
        bucket="automl",
    )
    written = document["services"]["airflow-worker"]["environment"]["AIRFLOW_CONN_AWS_DEFAULT"]
    assert json.loads(written) == connection(info)


def test_images_carry_the_packages_version(document: dict[str, Any]) -> None:
    own = {service["image"] for service in document["services"].values() if "build" in service}
    version = airflow_automl.__version__
    assert own == {f"airflow-automl/{name}:{version}" for name in ("airflow", "autopilot", "ray")}


def test_the_compose_file_has_no_form_that_the_schema_does_not_know() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(
            {"services": {"a": {"image": "a:1", "privilegd": True}}},
            json.loads((Path(__file__).parent / "compose.schema.json").read_text()),
        )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}-${B:-b}-$A", "1-b-1"),
        ("${EMPTY:-d}${EMPTY-d}|", "d|"),
        ("${A:+yes}${C:+no}", "yes"),
        ("$$HOME $${A}", "$HOME ${A}"),
    ],
)
def test_variables_are_put_in_as_compose_does(text: str, expected: str) -> None:
    assert interpolate(text, {"A": "1", "EMPTY": ""}) == expected


def test_the_dockerfile_copies_only_what_is_there_and_not_ignored() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for stage in stages(ROOT / "docker" / "Dockerfile").values():
        for source in stage.copies:
            matching = [path.relative_to(ROOT).as_posix() for path in ROOT.glob(source.rstrip("/"))]
            assert matching, source
            for path in matching:
                assert any(fnmatch.fnmatch(path, pattern) for pattern in allowed), f"{path} is ignored"


def test_the_dockerfile_copies_all_that_the_wheel_is_made_of() -> None:
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]
    wheel = hatch["build"]["targets"]["wheel"]
    needed = {hatch["metadata"]["hooks"]["custom"]["path"], *wheel["packages"], *wheel["force-include"]}
    copied = stages(ROOT / "docker" / "Dockerfile")["wheel"].copies
    assert needed | {"pyproject.toml", "README.md", "LICENSE"} <= set(copied)


def test_images_are_made_from_lock_files_whose_versions_are_the_tested_ones() -> None:
    tested = dict(re.findall(r"^(\S+)==(\S+)", (ROOT / "requirements" / "dev.txt").read_text(), re.MULTILINE))
    # Only the stack uses FAB, for logins; the native stack tests it.
    for lock in ("airflow", "autopilot", "build"):
        text = (ROOT / "docker" / f"{lock}.txt").read_text()
        pinned = dict(re.findall(r"^(\S+)==(\S+)", text, re.MULTILINE))
        assert pinned
        differing = {name: version for name, version in pinned.items() if tested.get(name, version) != version}
        assert not differing, f"docker/{lock}.txt is stale: make lock"
        for name, hashes in re.findall(r"^(\S+)==\S+ \\\n((?:    --hash=sha256:\S+.*\n?)*)", text, re.MULTILINE):
            assert hashes, name
        if lock != "airflow":
            assert set(pinned) <= set(tested)
        assert not [name for name in pinned if name.startswith(("torch", "nvidia"))]


def test_a_ray_cluster_is_there_on_demand_and_jobs_train_on_it(
    document: dict[str, Any], variables: dict[str, str]
) -> None:
    services = document["services"]
    assert [name for name, service in services.items() if service.get("profiles") == ["ray"]] == list(RAY)
    arguments = services["autopilot"]["command"]
    assert "--executor=local" in arguments
    assert "--ray-address=" in arguments
    example = (ROOT / "docker" / "env.example").read_text()
    chosen = dict(re.findall(r"^#(\w+)=(.*)$", example, re.MULTILINE))
    assert chosen.pop("COMPOSE_PROFILES") == "ray"
    on_ray = load(COMPOSE, variables | chosen)["services"]
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    options = parser.parse_args(on_ray["autopilot"]["command"][2:])
    assert (options.executor, options.ray_address) == ("ray", "http://ray-head:8265")
    assert "--dashboard-port=8265" in on_ray["ray-head"]["command"]
    assert {on_ray[name]["environment"]["RAY_AUTH_TOKEN"] for name in (*RAY, "autopilot")} == {variables["RAY_TOKEN"]}
    assert parser.parse_args(arguments[2:]).ray_address == ""
    share = Share(2, 8 << 30)
    for name in RAY[1:]:
        options = dict(word.lstrip("-").split("=") for word in on_ray[name]["command"] if "=" in word)
        assert int(options["num-cpus"]) >= share.cores, "a job of the default size fits"
        assert int(options["memory"]) >= (share.memory or 0)


def test_the_images_search_path_keeps_the_folders_of_the_base() -> None:
    # useradd lies in /usr/sbin.
    base = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}
    for name in ("airflow", "autopilot", "ray"):
        assert base <= set(stages(ROOT / "docker" / "Dockerfile")[name].environment["PATH"].split(":"))


def test_all_images_end_without_root() -> None:
    found = stages(ROOT / "docker" / "Dockerfile")
    assert found["ray"].user == "50001:50001"
    assert found["ray"].locks == ["/tmp/autopilot.txt", "/tmp/ray.txt"]
    assert found["airflow"].user == "50000:50000"
    assert found["autopilot"].user == "50001:50001"
    for stage in ("airflow", "autopilot"):
        assert found[stage].locks == [f"/tmp/{stage}.txt"]


def test_the_ray_cluster_for_kubernetes_is_the_one_of_the_compose_file() -> None:
    cluster = yaml.safe_load((ROOT / "docs" / "operations" / "raycluster.yaml").read_text())
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    (pinned,) = re.findall(r"^ray(?:\[\w+\])?==(\S+)", (ROOT / "requirements" / "ray.txt").read_text(), re.MULTILINE)
    assert cluster["spec"]["rayVersion"] == pinned
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsUser"] == 50001
        (container,) = pod["containers"]
        assert container["image"] == f"airflow-automl/ray:{airflow_automl.__version__}"
        environment = {entry["name"]: entry for entry in container["env"]}
        # KubeRay's own probes run programs that the image lacks; this one needs no token, as the compose file's.
        for probe in (container["readinessProbe"], container["livenessProbe"]):
            asked = f"127.0.0.1:{probe['httpGet']['port']}{probe['httpGet']['path']}"
            assert asked in COMPOSE.read_text()
        assert environment["RAY_AUTH_MODE"]["value"] == "token"
        assert "valueFrom" in environment["RAY_AUTH_TOKEN"]
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    head, workers = groups
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert int(workers["rayStartParams"]["memory"]) == 2 * (8 << 30), "two jobs of the default size"
    assert int(workers["rayStartParams"]["num-cpus"]) == 2 * 2
