"""Airflow's public REST API, as the tests that run a full Airflow call it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from airflow_automl.demo.stack import Stack

PATIENCE = 1500.0


def until(stack: Stack, what: Callable[[], Any], why: str | Callable[[], str], seconds: float = PATIENCE) -> Any:
    """Poll until the answer is truthy, as long as all of Airflow runs; a ``why`` that is called says how things are."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        stack.check()
        if time.monotonic() > deadline:
            reason = why if isinstance(why, str) else why()
            raise AssertionError(f"not within {seconds:.0f} s: {reason} (logs: {stack.folder})")
        time.sleep(0.3)
    return answer


class Rest:
    """A client that is logged in.

    :param url: the API server's address.
    :param login: username and password; without a login, every user is an administrator.
    """

    def __init__(self, url: str, login: dict[str, str] | None = None) -> None:
        # A request may wait for SQLite as long as SQLite itself waits for its lock.
        self.client = httpx.Client(base_url=f"{url}/api/v2", timeout=180)
        token = httpx.post(f"{url}/auth/token", json=login) if login else httpx.get(f"{url}/auth/token")
        self.client.headers["Authorization"] = f"Bearer {token.raise_for_status().json()['access_token']}"

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask again after a 5xx, which has changed nothing: requests that hold and await SQLite's lock time out."""
        for _ in range(5):
            answer = self.client.request(method, path, **options)
            if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                break
            time.sleep(2)
        return answer

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request; raise an error if the status is not 2xx."""
        return self.send(method, path, **options).raise_for_status()

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at a path."""
        return self.ask("GET", path, params=query).json()
