"""A model as its process in the model host has it, in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from airflow_automl.local.models import host
from airflow_automl.local.models.wire import Answer, Payload


class Hosted:
    """Loads a model, and sends requests to it.

    :param folders: the unpacked artefacts of its containers, with the environment of each.
    """

    def __init__(self, *folders: tuple[Path | str, Mapping[str, str]]) -> None:
        containers = [{"path": str(path), "environment": dict(environment)} for path, environment in folders]
        self.model = host.load({"containers": containers, "threads": 1})

    def __call__(self, body: bytes, content_type: str | None = "text/csv", accept: str | None = None) -> Answer:
        """Ask the model one request."""
        (answer,) = host.answer(self.model, [Payload(body, content_type, accept)])
        return answer
