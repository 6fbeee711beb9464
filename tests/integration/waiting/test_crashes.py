"""All processes of a wait are killed at random, and every run ends with exactly one job.

Airflow and the embedded service are real; jobs are scripted, so that hundreds of them are affordable.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.waiting.autopilot import Autopilot, autopilot
from tests.integration.waiting.postgres import postgres
from tests.integration.waiting.stack import IMPATIENT, FullAirflow, full_airflow
from tests.integration.waiting.storm import VICTIMS, Storm
from tests.standin import connection

STORMS, RUNS = 5, 10


@pytest.mark.slow
def test_runs_survive_the_crash_of_every_part(airflow: FullAirflow, service: Autopilot) -> None:
    storm = Storm(airflow, service, seed=4)
    storm.pass_over(4, [victim for victim in VICTIMS if victim != "supervisor"], pause=6.0)
    assert not list(storm.wrong()), storm.log


@pytest.fixture(params=["sqlite", "postgresql"])
def own_airflow(
    request: pytest.FixtureRequest, tmp_path: Path, airflow_home: Path
) -> Iterator[tuple[FullAirflow, Autopilot]]:
    with ExitStack() as stack:
        database = stack.enter_context(postgres()) if request.param == "postgresql" else None
        service = stack.enter_context(autopilot(tmp_path / "autopilot"))
        airflow = stack.enter_context(
            full_airflow(
                tmp_path / "airflow",
                {"aws_default": connection(service.url)},
                database,
                migrated=airflow_home / "migrated.db",
                overrides=IMPATIENT,
            )
        )
        yield airflow, service


@pytest.mark.slow
def test_fifty_runs_survive_random_crashes(
    own_airflow: tuple[FullAirflow, Autopilot], capsys: pytest.CaptureFixture[str]
) -> None:
    kills: list[str] = []
    wrong: list[str] = []
    for seed in range(STORMS):
        storm = Storm(*own_airflow, seed=seed)
        storm.pass_over(RUNS, [*VICTIMS, *VICTIMS], pause=6.0)
        with capsys.disabled():
            print(f"\nstorm {seed}: {len(storm.runs)} runs; {'; '.join(storm.log)}")
        kills += [line for line in storm.log if ": no " not in line]
        wrong += storm.wrong()
    with capsys.disabled():
        print(f"{STORMS * RUNS} runs, {len(kills)} processes killed, {len(wrong)} wrong")
    assert not wrong
