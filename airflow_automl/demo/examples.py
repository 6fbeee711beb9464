"""What ``airflow-automl demo --ui`` opens on: the DAGs that run here, a job that trains, and one job of each end."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from airflow_automl.contract import deployment, tabular
from airflow_automl.demo import corpora, dataset
from airflow_automl.local.training.engines.registry import FAMILIES, missing

__all__ = ["LIVE", "choose", "start_runs", "submit", "upload"]

#: Example DAG without tables → its problem type, and its data if the demo can make it.
_OTHERS: Mapping[str, tuple[str, Callable[[], dict[str, bytes]] | None]] = {
    "demand_forecasting": ("TimeSeriesForecastingJobConfig", corpora.demand),
    "fine_tuned_assistant": ("TextGenerationJobConfig", None),
    "image_sorting": ("ImageClassificationJobConfig", lambda: corpora.digits(400)),
    "ticket_routing": ("TextClassificationJobConfig", lambda: corpora.tickets(1000, 50)),
}
_SEGMENTS = ("north", "south", "east", "west", "online", "retail", "wholesale", "students", "families", "seniors")

ROWS = 1500
_DATA = f"s3://{dataset.BUCKET}/examples/train/"

#: The configuration of the run that trains while you read the pages: until its limit, unless you stop it.
LIVE = {
    "data": f"{dataset.FOLDER}/train/",
    "target": dataset.TARGET,
    "problem_type": "BinaryClassification",
    "objective": "AUC",
    "mode": "HYPERPARAMETER_TUNING",
    "max_candidates": 750,
    "max_runtime_minutes": 10,
}

_KNOWN: dict[str, Any] = {"problem_type": "BinaryClassification", "objective": "AUC", "max_runtime": 600}
_TUNING = {**_KNOWN, "mode": "HYPERPARAMETER_TUNING"}
_STOPPED = "example-stopped"
_WARNED = "example-with-warnings"

#: A job's name says how it ends.
_ENDS: Mapping[str, Mapping[str, Any]] = {
    "example-failed": {"target": "no_such_column", "max_runtime": 600},
    "example-definitions-only": {**_TUNING, "generate_candidate_definitions_only": True},
    _WARNED: {
        **_KNOWN,
        "mode": "ENSEMBLING",
        "algorithms": ["lightgbm", "extra-trees"],
        "deployment": deployment(_WARNED),
    },
    "example-most-candidates": {**_TUNING, "max_candidates": 4},
    "example-runtime-limit": {**_TUNING, "max_candidates": 250, "max_runtime": 40},
    _STOPPED: {**_TUNING, "max_candidates": 250},
}


def choose(dags: Path, folder: Path) -> list[str]:
    """Copy the example DAGs that can run in this environment.

    :param dags: the folder of all example DAGs.
    :param folder: where the copies go; what it held before is removed.
    :return: a sentence about each DAG that is left out: what it needs.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    left_out = []
    for file in sorted(dags.glob("*.py")):
        family, files = _OTHERS.get(file.stem, ("TabularJobConfig", dict))
        if missing(FAMILIES[family].packages):
            left_out.append(f"{file.stem}: run pip install 'airflow-automl[{FAMILIES[family].extra}]'")
        elif files is None:
            left_out.append(f"{file.stem}: it needs a base model and data of your own (docs: Text generation)")
        else:
            shutil.copy2(file, folder)
    return left_out


def upload(s3: Any, split: dataset.Split, folder: Path) -> None:
    """Upload the data that the DAGs in a folder read by default.

    :param s3: a boto3 S3 client.
    :param split: what :func:`airflow_automl.demo.dataset.load` returned.
    :param folder: what :func:`choose` filled.
    """
    import pandas

    # A job needs 500 rows: the training rows alone are too few.
    customers = pandas.concat([split.train, split.validation])
    files = {
        f"segments/{name}/part-0.csv": dataset.to_csv(customers.iloc[i :: len(_SEGMENTS)], header=True)
        for i, name in enumerate(_SEGMENTS)
    }
    unlabelled = split.test.drop(columns=dataset.TARGET)
    files["churn/new/part-0.csv"] = dataset.to_csv(unlabelled, header=False)
    for name, (_, make) in _OTHERS.items():
        if make is not None and (folder / f"{name}.py").exists():
            files |= make()
    dataset.upload(s3, files)


def submit(s3: Any, sagemaker: Any, split: dataset.Split, defaults: Mapping[str, Any]) -> None:
    """Submit one job of each end; those that an earlier run of the demo submitted are left as they are.

    :param s3: a boto3 client.
    :param sagemaker: a boto3 client.
    :param split: what :func:`airflow_automl.demo.dataset.load` returned; some of its rows are trained on.
    :param defaults: ``role_arn`` and ``output_path`` of the connection.
    """
    body = dataset.to_csv(split.train.head(ROWS), header=True)
    s3.put_object(Bucket=dataset.BUCKET, Key="examples/train/part-0.csv", Body=body)
    _take_endpoint_name(sagemaker, defaults["role_arn"])
    for name, options in _ENDS.items():
        request = tabular(
            _DATA,
            **{
                "target": dataset.TARGET,
                "name": name,
                "role": defaults["role_arn"],
                "output": defaults["output_path"],
                **options,
            },
        )
        try:
            sagemaker.create_auto_ml_job_v2(**request)
        except sagemaker.exceptions.ResourceInUse:
            continue
        if name == _STOPPED:
            threading.Thread(target=_stop_after_first_candidate, args=(sagemaker, name), daemon=True).start()


def _take_endpoint_name(sagemaker: Any, role: str) -> None:
    """Give its endpoint's name to another endpoint, so that the job trains a model and can't deploy it."""
    container = {"Image": "of-another-account", "ModelDataUrl": f"s3://{dataset.BUCKET}/examples/model.tar.gz"}
    variant = {"VariantName": "all", "ModelName": _WARNED, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    for create, options in (
        (sagemaker.create_model, {"ModelName": _WARNED, "ExecutionRoleArn": role, "PrimaryContainer": container}),
        (sagemaker.create_endpoint_config, {"EndpointConfigName": _WARNED, "ProductionVariants": [variant]}),
        (sagemaker.create_endpoint, {"EndpointName": _WARNED, "EndpointConfigName": _WARNED}),
    ):
        # An earlier run of the demo may have made it.
        with contextlib.suppress(sagemaker.exceptions.ClientError):
            create(**options)


def _stop_after_first_candidate(sagemaker: Any, name: str) -> None:
    pause = threading.Event()
    while not pause.wait(1.0):
        described = sagemaker.describe_auto_ml_job_v2(AutoMLJobName=name)
        if described["AutoMLJobStatus"] != "InProgress":
            return
        if "BestCandidate" in described:
            sagemaker.stop_auto_ml_job(AutoMLJobName=name)
            return


def start_runs(url: str, scheduled_dag: str, manual_dag: str) -> None:
    """Let Airflow run the weekly DAG, and the manual one with :data:`LIVE`.

    :param url: the address of an Airflow without a login.
    """
    import httpx

    with httpx.Client(base_url=url, timeout=60) as api:
        token = api.get("/auth/token").raise_for_status().json()["access_token"]
        api.headers["Authorization"] = f"Bearer {token}"
        # Unpausing the weekly DAG is enough: the scheduler starts the newest week's run at once.
        for dag_id in (scheduled_dag, manual_dag):
            api.patch(f"/api/v2/dags/{dag_id}", json={"is_paused": False}).raise_for_status()
        run = api.post(f"/api/v2/dags/{manual_dag}/dagRuns", json={"logical_date": None, "conf": LIVE})
        run.raise_for_status()
