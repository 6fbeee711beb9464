"""``airflow-automl demo``: a model trained, judged, deployed and reported by Airflow, and then kept, without AWS.

It starts the embedded Autopilot, uploads a real table, runs ``dags/scheduled_retraining.py`` with
``airflow dags test``, shows the results, runs the DAG again, which decides not to train, and stops all that it
started. ``--ui`` starts Airflow's web interface
on the same folder instead, with a job that trains and one of each end, and stays until Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import time
import webbrowser
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console

from airflow_automl.demo import dataset
from airflow_automl.demo.stack import DemoFailed, Stack, tail
from airflow_automl.exceptions import AutoMLError

if TYPE_CHECKING:
    from airflow_automl.demo.dataset import Split

DAG_ID = "scheduled_retraining"
ENDPOINT = "churn"
LEAST_RUNTIME = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="state and logs (default: %(default)s)")
    parser.add_argument(
        "--max-runtime",
        type=_seconds,
        default=120,
        metavar="SECONDS",
        help=f"longest run of the AutoML job, at least {LEAST_RUNTIME} (default: %(default)s)",
    )
    parser.add_argument("--ui", action="store_true", help="stay in Airflow's web interface until Ctrl-C")


def _seconds(text: str) -> int:
    if not text.isdecimal() or int(text) < LEAST_RUNTIME:
        raise argparse.ArgumentTypeError(f"{text!r} is not valid: give whole seconds, {LEAST_RUNTIME} or more")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Run the demo.

    :return: 0 when the model was deployed and answered and the second run kept it, 1 when something failed, 130 after
        Ctrl-C.
    """
    # SIGINT too: a shell's background jobs are started with it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    started = time.monotonic()
    try:
        with Stack(args.folder) as stack:
            if args.ui:
                _web_interface(console, stack)
            else:
                _retrain(console, stack, _prepare(console, stack, _dags_folder()), args.max_runtime)
            console.print("[bold]==>[/] stopping everything that was started")
    except AutoMLError as error:
        console.print(f"[bold red]demo failed:[/] {error}", markup=True)
        return 1
    except KeyboardInterrupt:
        console.print("demo: stopped, and so is everything that it had started")
        return 0 if args.ui else 130
    console.print(f"[bold green]demo: all done[/] in {time.monotonic() - started:.0f} s")
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _dags_folder() -> Path:
    """The example DAGs: in the wheel they are in the package, in a checkout beside it."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "example_dags", package.parent / "dags"):
        if (folder / f"{DAG_ID}.py").exists():
            return folder
    raise DemoFailed(f"the example DAGs are neither in {package} nor beside it; install the package again")


def _prepare(console: Console, stack: Stack, dags: Path) -> Split:
    console.print("[bold]==>[/] starting the embedded Autopilot and preparing Airflow's database")
    stack.use_airflow(dags, {"AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO"})
    stack.airflow("airflow-db-migrate", "db", "migrate")
    stack.start_autopilot()
    split = dataset.load()
    console.print(
        f"[bold]==>[/] uploading {len(split.train):,} training and {len(split.validation):,} validation rows to "
        f"{dataset.FOLDER}/"
    )
    dataset.upload(_client(stack, "s3"), dataset.files(split))
    stack.finish("airflow-db-migrate")
    return split


def _client(stack: Stack, service: str) -> Any:
    import boto3

    environment = stack.environment
    url = environment["AWS_ENDPOINT_URL_S3" if service == "s3" else "AWS_ENDPOINT_URL"]
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=environment["AWS_DEFAULT_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )


def _retrain(console: Console, stack: Stack, split: Split, max_runtime: int) -> None:
    from airflow_automl.demo.screen import Progress

    console.print(f"[bold]==>[/] airflow dags test {DAG_ID}   (evaluate → decide → train → gate → deploy → report)")
    sagemaker = _client(stack, "sagemaker")
    stop_leftovers(sagemaker)
    _delete_endpoint(sagemaker)
    progress = Progress(console, sagemaker)
    command = ("dags", "test", DAG_ID, "--conf", json.dumps({"max_runtime": max_runtime}))
    dag_run = stack.airflow("airflow-dags-test", *command)
    progress.follow(lambda: dag_run.popen.poll() is None)
    stack.finish("airflow-dags-test")
    if progress.job_name is None:
        raise DemoFailed(f"no AutoML job was submitted:\n{tail(dag_run.log)}")
    again = stack.airflow("airflow-dags-test-again", *command)
    _show_result(console, stack, split, progress.job_name)
    console.print(f"[bold]==>[/] airflow dags test {DAG_ID} again   (evaluate → decide: is training needed?)")
    stack.finish("airflow-dags-test-again")
    console.print(f"    {_decision(again.log.read_text())}", highlight=False, markup=False)


def _delete_endpoint(sagemaker: Any) -> None:
    """Delete the endpoint of an earlier demo: as long as its model is good, the first run would not train."""
    pages = sagemaker.get_paginator("list_endpoints")
    while found := [
        endpoint["EndpointStatus"]
        for page in pages.paginate(NameContains=ENDPOINT)
        for endpoint in page["Endpoints"]
        if endpoint["EndpointName"] == ENDPOINT
    ]:
        # One that was interrupted while it deployed is still deploying, and can't be deleted before that is done.
        if found[0] in {"InService", "Failed"}:
            sagemaker.delete_endpoint(EndpointName=ENDPOINT)
        time.sleep(0.5)


def _decision(log: str) -> str:
    found = re.findall(r"The model is kept, .*?\.(?=\s|$)", re.sub(r"\x1b\[[0-9;]*m", "", log), re.MULTILINE)
    if not found:
        raise DemoFailed("the second run did not keep the model; see airflow-dags-test-again.log")
    return str(found[-1])


def stop_leftovers(sagemaker: Any) -> None:
    """Stop the jobs that an interrupted demo left running: they would take the slots of this one's."""
    for left in sagemaker.list_auto_ml_jobs(StatusEquals="InProgress")["AutoMLJobSummaries"]:
        sagemaker.stop_auto_ml_job(AutoMLJobName=left["AutoMLJobName"])


def _show_result(console: Console, stack: Stack, split: Split, job_name: str) -> None:
    from airflow_automl.contract.metrics import candidate_metrics
    from airflow_automl.demo.screen import comparison, leaderboard

    sagemaker = _client(stack, "sagemaker")
    job = sagemaker.describe_auto_ml_job_v2(AutoMLJobName=job_name)
    candidates = sagemaker.list_candidates_for_auto_ml_job(AutoMLJobName=job_name)["Candidates"]
    console.print(f"\n[bold]Leaderboard[/] of job {job_name}, on the validation rows")
    console.print(leaderboard(candidates, console.width))

    best = job["BestCandidate"]
    measured = candidate_metrics(best)
    predicted = _predict(stack, split)
    leaving = [float(row["probability_of_yes"]) for row in predicted]
    base = dataset.baseline(split)
    scores = {
        "best candidate": {
            "Validation": {metric: measured[metric] for metric in base["Validation"]},
            "Test": dataset.scores(split.test[dataset.TARGET], leaving),
        },
        "scikit-learn gradient boosting": base,
    }
    console.print("\n[bold]Against a plain baseline[/]; the test rows were seen by neither, and scored by the endpoint")
    console.print(comparison(scores))

    customer, answer = split.test.iloc[0], predicted[0]
    console.print(
        f"\n[bold]A prediction[/] from endpoint {ENDPOINT!r}: a customer of {customer['tenure']} months who pays "
        f"{customer['monthly_charges']:.2f} a month: leaves with probability {leaving[0]:.2f}"
        f" (says {answer['predicted_label']!r}; the truth is {customer[dataset.TARGET]!r})"
    )
    console.print(f"[bold]Report[/] {_fetch_report(stack)}")


def _predict(stack: Stack, split: Split) -> list[dict[str, Any]]:
    body = dataset.to_csv(split.test.drop(columns=dataset.TARGET), header=False)
    answer = _client(stack, "sagemaker-runtime").invoke_endpoint(
        EndpointName=ENDPOINT, ContentType="text/csv", Accept="text/csv", Body=body
    )
    return [parse_prediction(row) for row in answer["Body"].read().decode().splitlines()]


def parse_prediction(row: str) -> dict[str, Any]:
    """Read ``label,probability,"[probabilities]","[labels]"``, the columns that the DAG asks the endpoint for."""
    import ast
    import csv

    label, _, probabilities, labels = next(csv.reader([row]))
    by_label = dict(zip(ast.literal_eval(labels), ast.literal_eval(probabilities), strict=True))
    return {"predicted_label": label, "probability_of_yes": by_label["Yes"]}


def _fetch_report(stack: Stack) -> Path:
    s3 = _client(stack, "s3")
    objects = s3.list_objects_v2(Bucket=dataset.BUCKET, Prefix="churn/reports/").get("Contents", [])
    pages = [item for item in objects if item["Key"].endswith(".html")]
    if not pages:
        raise DemoFailed("the report task wrote no page")
    newest = max(pages, key=lambda item: item["LastModified"])
    path = stack.folder / "report.html"
    s3.download_file(dataset.BUCKET, newest["Key"], str(path))
    return path


def _web_interface(console: Console, stack: Stack) -> None:
    from airflow_automl.demo import examples

    dags = stack.folder / "dags"
    left_out = examples.choose(_dags_folder(), dags)
    split = _prepare(console, stack, dags)
    console.print("[bold]==>[/] uploading the data of the other example DAGs, and submitting one job for each outcome")
    examples.upload(_client(stack, "s3"), split, dags)
    # The connection's defaults for requests without role and output path.
    defaults = json.loads(stack.environment["AIRFLOW_CONN_AWS_DEFAULT"])["extra"]["automl"]
    examples.submit(_client(stack, "s3"), _client(stack, "sagemaker"), split, defaults)
    console.print(f"[bold]==>[/] starting Airflow (about a minute; its logs are in {stack.folder})")
    stack.start_airflow()
    examples.start_runs(stack.url, DAG_ID, "manual_automl")
    page = f"{stack.url}/plugin/automl"
    console.print(
        f"[bold green]ready[/] {page}   (no login; the form of manual_automl: {stack.url}/dags/manual_automl)"
    )
    if sys.stdout.isatty():
        webbrowser.open(page)
    for sentence in left_out:
        console.print(f"      not shown: {sentence}", markup=False)
    console.print("Ctrl-C stops everything")
    while True:
        stack.check()
        time.sleep(1)
