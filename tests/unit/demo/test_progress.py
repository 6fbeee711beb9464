"""The demo's output while its job trains, and that no other job trains at that time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from rich.console import Console

from airflow_automl.demo import stop_leftovers
from airflow_automl.demo.screen import Progress
from tests.standin import ENDLESS, StandIn, ends, serve


@pytest.fixture
def service() -> Iterator[StandIn]:
    with serve() as stand_in:
        yield stand_in


def client(service: StandIn) -> Any:
    return boto3.client(
        "sagemaker",
        endpoint_url=service.url,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (((0.0, "InProgress", "Starting"),), "mine: Waiting for its turn"),
        (ENDLESS, "mine: In progress, training models"),
        (ends("Completed", "MaxCandidatesReached"), "mine: Completed at MaxCandidates"),
    ],
)
def test_progress_has_the_words_of_the_pages(service: StandIn, script: Any, said: str) -> None:
    file = io.StringIO()
    progress = Progress(Console(file=file, width=100), client(service))
    service.add_job("mine", script, age=100)
    progress._view(1.0)
    assert said in file.getvalue()


def test_jobs_that_an_interrupted_demo_left_running_are_stopped(service: StandIn) -> None:
    service.add_job("left", ENDLESS, age=100)
    service.add_job("done", age=100)
    stop_leftovers(client(service))
    assert service.jobs["left"].stopped is not None
    assert service.jobs["done"].stopped is None
