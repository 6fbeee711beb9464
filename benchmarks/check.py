"""How long `check` takes: for one request, and for the first one of a process with its imports.

    python benchmarks/check.py

Targets: 5 ms a request; 30 ms of CPU for the import and the first request in a process that parses DAG files.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "tests" / "data" / "contract" / "examples.json"

FIRST = """
import time
{prelude}
begun = time.process_time()
from airflow_automl.contract import check, tabular
check("V2", tabular("s3://bucket/train/", target="y", name="job", output="s3://bucket/out/",
                    role="arn:aws:iam::123456789012:role/AutoML", tags={{"team": "growth"}}))
print((time.process_time() - begun) * 1000)
"""


def per_request(repeats: int) -> list[float]:
    """Return the fastest of some runs for each sample request, in milliseconds."""
    sys.path.insert(0, str(ROOT))
    from airflow_automl.contract import check

    samples = [(entry["api"], entry["request"]) for entry in json.loads(EXAMPLES.read_text(encoding="utf-8"))]
    for api, request in samples:
        check(api, request)
    fastest = []
    for api, request in samples:
        times = []
        for _ in range(repeats):
            begun = time.perf_counter()
            check(api, request)
            times.append((time.perf_counter() - begun) * 1000)
        fastest.append(min(times))
    return fastest


def first_request(prelude: str, repeats: int) -> list[float]:
    """Return the CPU milliseconds of import and first request, each in a new process."""
    command = [sys.executable, "-c", FIRST.format(prelude=prelude)]
    runs = [subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True) for _ in range(repeats)]
    return [float(run.stdout.split()[-1]) for run in runs]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    times = per_request(args.repeats)
    print(f"check, {len(times)} sample requests: median {statistics.median(times):.3f} ms, slowest {max(times):.3f} ms")
    for process, prelude in (("bare Python", ""), ("Airflow loaded", "from airflow.sdk import DAG")):
        first = first_request(prelude, max(1, args.repeats // 4))
        median, slowest = statistics.median(first), max(first)
        print(f"import and first request, CPU, {process}: median {median:.1f} ms, slowest {slowest:.1f} ms")


if __name__ == "__main__":
    main()
