"""The Airflow side's unit tests in each environment of `requirements/compat.toml`, in a process of its own."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.compat.conftest import cell_parameters, programs
from tools import compat

UNIT = "tests/unit/"
#: Tests that are not of the Airflow side, or whose code is the same on every Airflow.
ELSEWHERE = ("local", "report", "demo", "contract", "doctor", "triggers/test_watcher.py")


def run_tests(cell: compat.Cell, *arguments: str) -> None:
    """Run pytest in a cell's environment, on this checkout."""
    folder = programs(cell.name)
    if cell.airflow < "3.1":
        arguments += (f"--ignore={UNIT}plugin",)  # no pages
    done = subprocess.run(
        [folder / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *arguments],
        cwd=compat.ROOT,
        env={**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(compat.ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout[-3000:])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.parametrize("name", cell_parameters(quick=("lowest",)))
def test_the_airflow_sides_unit_tests_pass(name: str) -> None:
    run_tests(compat.cells()[name], UNIT, *(f"--ignore={UNIT}{folder}" for folder in ELSEWHERE))
