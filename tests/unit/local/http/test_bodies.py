"""Request bodies use a bounded part of the memory, and none before the signature has been checked."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_automl.local.http import application
from airflow_automl.local.http.application import Application
from airflow_automl.local.http.signatures import Signatures
from airflow_automl.local.state.jobs import JobStore
from airflow_automl.local.storage.client import Credentials


class Client:
    """A connection whose body arrives chunk by chunk."""

    def __init__(self, chunks: list[bytes], **headers: str) -> None:
        self.chunks = chunks
        self.received = 0
        self.waits, self.go_on = asyncio.Event(), asyncio.Event()
        self.answered: list[Any] = []
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.scope = {"type": "http", "method": "POST", "path": "/", "headers": raw}

    async def receive(self) -> dict[str, Any]:
        if self.received == len(self.chunks):
            self.waits.set()
            await self.go_on.wait()
            return {"type": "http.request", "body": b"", "more_body": False}
        self.received += 1
        return {"type": "http.request", "body": self.chunks[self.received - 1], "more_body": True}

    async def send(self, message: Any) -> None:
        self.answered.append(message)

    async def ask(self, asked: Application) -> tuple[int, str]:
        await asked(self.scope, self.receive, self.send)
        return self.answered[0]["status"], json.loads(self.answered[1]["body"])["__type"]


class Others:
    """Another service that refuses everything."""

    async def answer(self, _: Any) -> Any:
        from airflow_automl.local.errors import invalid

        raise invalid("no")


def application_of(jobs: JobStore, signatures: Signatures | None = None) -> Application:
    backend: Any = SimpleNamespace(jobs=jobs)
    nothing: Any = None
    others: Any = Others()
    return Application(backend, nothing, others, signatures)


async def test_an_unsigned_body_is_discarded_on_arrival(jobs: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "MAX_ALL_BODIES", 0)
    client = Client([b"x" * 1000])
    client.go_on.set()
    asked = application_of(jobs, Signatures(Credentials("key", "secret")))
    assert await client.ask(asked) == (403, "MissingAuthenticationTokenException")


async def test_bodies_together_take_no_more_than_they_may(jobs: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "MAX_ALL_BODIES", 5500)  # each body counts with one copy of it
    asked = application_of(jobs)
    first, second, third = (Client([b"x" * 1000]) for _ in range(3))
    waiting = [asyncio.create_task(client.ask(asked)) for client in (first, second)]
    await asyncio.gather(first.waits.wait(), second.waits.wait())
    assert await third.ask(asked) == (503, "ServiceUnavailable")
    for client in (first, second):
        client.go_on.set()
    assert await asyncio.gather(*waiting) == [(400, "ValidationException")] * 2
    fourth = Client([b"x" * 1000, b"x" * 1000])
    fourth.go_on.set()
    assert await fourth.ask(asked) == (400, "ValidationException"), "what was answered counts no more"


async def test_a_body_that_does_not_arrive_times_out(jobs: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "_BODY_TIMEOUT", 0.0)
    assert await Client([b"x"]).ask(application_of(jobs)) == (408, "RequestTimeout")
