"""How long calls of an unreachable store are repeated."""

from __future__ import annotations

import pytest
from botocore.exceptions import ConnectTimeoutError

from airflow_automl.local import retry


class Clock:
    """Time that passes only in calls and pauses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(retry.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(retry.time, "sleep", self.passes)

    def passes(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_long_download_that_is_cut_off_is_repeated(clock: Clock) -> None:
    failures = [ConnectTimeoutError(endpoint_url="http://store")]

    def download() -> str:
        clock.passes(3600)
        if failures:
            raise failures.pop()
        return "done"

    assert retry.retrying(download) == "done"


def test_a_store_that_stays_away_is_given_up(clock: Clock) -> None:
    def call() -> None:
        raise ConnectTimeoutError(endpoint_url="http://store")

    with pytest.raises(ConnectTimeoutError):
        retry.retrying(call)
    assert clock.now == retry.TIMEOUT


def test_a_refusal_is_not_repeated(clock: Clock) -> None:
    def call() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        retry.retrying(call)
    assert clock.now == 0
