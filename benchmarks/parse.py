"""What importing the operators adds to parsing a DAG file, with Airflow already loaded.

Each sample is a fresh process; CPU time, not wall time. Run with ``python -m benchmarks.parse``.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

SAMPLES = 7
TARGET = 0.05

PROBE = """
import json, sys, time
import airflow.sdk
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator, Asset, ExceptionRetryPolicy, RetryRule, BaseOperatorLink
import airflow.triggers.base
before = set(sys.modules)
begin = time.process_time()
import airflow_automl.operators, airflow_automl.sensors
from airflow_automl.operators import {operators}
from airflow_automl.sensors import SageMakerAutoMLJobSensor
from airflow_automl.retries import automl_retry_policy
from airflow_automl.contract import tabular
cpu = time.process_time() - begin
added = set(sys.modules) - before
heavy = sorted(name for name in added if name.partition(".")[0] in {{"boto3", "botocore", "aiobotocore", "pandas",
    "jinja2", "matplotlib", "autogluon", "numpy", "pyarrow"}})
print(json.dumps({{"cpu": cpu, "modules": len(added), "heavy": heavy}}))
"""


def sample() -> dict[str, object]:
    """Measure once."""
    from airflow_automl import operators

    code = PROBE.format(operators=", ".join(operators.__all__))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    answer: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def main() -> int:
    """Print the median, and whether it meets the target."""
    samples = [sample() for _ in range(SAMPLES)]
    cpu = [float(str(each["cpu"])) for each in samples]
    median = statistics.median(cpu)
    print(f"importing all operators, the sensor, the retry policy and a builder, Airflow loaded ({SAMPLES} processes):")
    print(f"  CPU: median {median * 1000:.1f} ms, lowest {min(cpu) * 1000:.1f} ms, highest {max(cpu) * 1000:.1f} ms")
    print(f"  modules added: {samples[0]['modules']}; of heavy packages: {samples[0]['heavy'] or 'none'}")
    print(f"  target {TARGET * 1000:.0f} ms: {'met' if median <= TARGET else 'MISSED'}")
    return 0 if median <= TARGET and not samples[0]["heavy"] else 1


if __name__ == "__main__":
    sys.exit(main())
