"""The Airflow side's unit tests in each environment of `requirements/compat.toml`, in a process of its own."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.compat.conftest import cell_parameters
from tools import compat


@pytest.mark.parametrize("name", cell_parameters())
def test_the_airflow_sides_unit_tests_pass(name: str) -> None:
    cell = compat.cells()[name]
    try:
        programs = compat.environment(cell)
    except compat.Missing as error:
        pytest.skip(str(error))
    pages = [] if cell.airflow >= "3.1" else ["--ignore=tests/unit/plugin"]
    done = subprocess.run(
        [
            *(programs / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", "tests/unit"),
            *(
                "--ignore=tests/unit/local",
                "--ignore=tests/unit/report",
                "--ignore=tests/unit/demo",
                "--ignore=tests/unit/contract",
                *pages,
            ),
        ],
        cwd=compat.ROOT,
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(compat.ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout[-3000:])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
