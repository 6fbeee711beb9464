"""A trainer for tests of supervision: reports what the job's S3 prefix says, through the real file protocol.

``s3://automl/script/STEP,STEP,...``: each step is a word below, in order. It trains nothing and stores nothing. A job
with another prefix is trained for real.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# On a node of a cluster, the trainer's own folder is not the one of the service, where a test puts its signals.
folder = Path(sys.argv[-1])
spec: dict[str, Any] = json.loads((folder / "spec.json").read_text())
uri = spec["request"]["AutoMLJobInputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"]
if "/script/" not in uri:
    os.execv(sys.executable, [sys.executable, "-m", "airflow_automl.local.training.main", str(folder)])
handle = os.open(folder / "events.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
made = 0


def report(**event: Any) -> None:
    event |= {"at": time.time(), "attempt": spec["attempt"]}
    os.write(handle, json.dumps(event).encode() + b"\n")


def candidate(status: str, value: float | None) -> None:
    document: dict[str, Any] = {
        "CandidateName": f"{spec['name']}-{made}",
        "CandidateStatus": status,
        "ObjectiveStatus": "Pending" if value is None else "Succeeded",
        "CandidateSteps": [],
        "CreationTime": time.time(),
        "LastModifiedTime": time.time(),
        "InferenceContainers": [
            {"Image": "scripted", "ModelDataUrl": f"{spec['output']}{made}/model.tar.gz", "Environment": {}}
        ],
    }
    if value is not None:
        document["EndTime"] = time.time()
        document["FinalAutoMLJobObjectiveMetric"] = {"Type": "Maximize", "MetricName": "AUC", "Value": value}
    report(event="candidate", candidate=document, digests={})


def wait_for(name: str) -> None:
    while not (Path(sys.argv[1]) / "jobs" / spec["name"] / name).exists():
        time.sleep(0.02)


script = uri.rpartition("/script/")[2]
print(f"attempt {spec['attempt']} runs {script}", flush=True)
(folder / "work").mkdir(exist_ok=True)
for step in script.split(","):
    word, _, argument = step.partition("-")
    match word:
        case "phases":
            report(event="phase", secondary="AnalyzingData")
            report(event="phase", secondary="PreTraining")
            report(
                event="resolved",
                problem_type="BinaryClassification",
                objective="AUC",
                mode="ENSEMBLING",
                completion_criteria={"MaxCandidates": 10},
            )
            report(event="phase", secondary="TrainingModels")
        case "begin":
            made += 1
            candidate("InProgress", None)
        case "candidate":
            made += 1
            candidate("Completed", float(argument) / 100)
        case "wait":
            wait_for("go")
        case "firstwait":
            if spec["attempt"] == 1:
                wait_for("go")
        case "child":
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        case "eat":
            eaten = bytearray(os.urandom(1 << 20) * int(argument))
            wait_for("go")
        case "partial":
            report(event="partial_failure", message=f"no {argument}", kind=argument)
        case "half":
            os.write(handle, b'{"event":"phase","secon')
            wait_for("go")
        case "failed":
            report(event="failed", reason="The column 'target' is not in the data")
        case "completed":
            report(event="completed", secondary=argument or "Completed")
        case "exit":
            print("nothing more to say", flush=True)
            os._exit(int(argument))
        case _:
            raise SystemExit(f"unknown step {step}")
