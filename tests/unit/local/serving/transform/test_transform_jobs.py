"""Transform jobs end as they went, also while the disk is full; what is too large is refused before it is read."""

from __future__ import annotations

import asyncio
import gzip
import io
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from airflow_automl.local import background
from airflow_automl.local.background import Background
from airflow_automl.local.errors import in_use
from airflow_automl.local.serving.model_host_client import Answer, Container
from airflow_automl.local.serving.transform.jobs import TRANSFORM_JOB, Transforms
from airflow_automl.local.state.folder import DataFolder
from airflow_automl.local.state.resources import Resource, ResourceStore

MEBI = 1024 * 1024


class Store:
    """Objects in memory."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects

    def get_paginator(self, _: str) -> Store:
        return self

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        return [{"Contents": [{"Key": key} for key in self.objects]}]

    def download_file(self, bucket: str, key: str, path: str) -> None:
        Path(path).write_bytes(self.objects[key])

    def upload_file(self, path: str, bucket: str, key: str) -> None:
        self.objects[key] = Path(path).read_bytes()


class Model:
    """Answers each payload with how many bytes it has, or never."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    def containers(self, model: Resource) -> list[Container]:
        return []

    async def columns(self, containers: Any) -> tuple[list[str], bool]:
        return [], False

    async def invoke(self, containers: Any, body: bytes, headers: Any, limit: float) -> Answer:
        self.asked.set()
        await self.go_on.wait()
        return Answer(200, "text/csv", f"{len(body)}\n".encode())


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def store() -> Store:
    return Store({"in/a.csv": b"1,2\n3,4\n"})


@pytest.fixture
def transforms(
    resources: ResourceStore, tmp_path: Path, store: Store, model: Any, monkeypatch: pytest.MonkeyPatch
) -> Transforms:
    monkeypatch.setattr(background, "_PAUSE", 0.0)
    folder = DataFolder(tmp_path / "data")
    folder.prepare()
    resources.add("model", "churn", "arn:churn", {}, taken=in_use("taken"))
    return Transforms(resources, model, model, folder, lambda: store, Background())


def add_job(resources: ResourceStore, **members: Any) -> None:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://automl/in/"}}
    split, compression = members.pop("split", "Line"), members.pop("compression", "None")
    document = {
        "ModelName": "churn",
        "TransformInput": {
            "DataSource": source,
            "SplitType": split,
            "ContentType": "text/csv",
            "CompressionType": compression,
        },
        "TransformOutput": {"S3OutputPath": "s3://automl/out"},
        **members,
    }
    resources.add(TRANSFORM_JOB, "score", "arn:score", document, taken=in_use("taken"), status="InProgress")


def fill_disk(resources: ResourceStore, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    full = [sqlite3.OperationalError("database or disk is full")] * times
    update = resources.update

    def write(*arguments: Any, **members: Any) -> Resource:
        if full:
            raise full.pop()
        return update(*arguments, **members)

    monkeypatch.setattr(resources, "update", write)


async def ended(transforms: Transforms) -> None:
    while (task := transforms._tasks.get("score")) is not None:
        await asyncio.wait({task})


def job(resources: ResourceStore) -> Resource:
    found = resources.find(TRANSFORM_JOB, "score")
    assert found is not None
    return found


async def test_a_job_ends_once_the_disk_has_room_again(
    transforms: Transforms, resources: ResourceStore, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_job(resources)
    fill_disk(resources, monkeypatch, 3)
    transforms.begin("score")
    await ended(transforms)
    assert job(resources).status == "Completed", job(resources).document
    assert store.objects["out/a.csv.out"] == b"8\n"


async def test_a_job_is_stopped_once_the_disk_has_room_again(
    transforms: Transforms, resources: ResourceStore, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_job(resources)
    model.go_on.clear()
    transforms.begin("score")
    await model.asked.wait()
    transforms.cancel(job(resources))
    fill_disk(resources, monkeypatch, 3)
    await ended(transforms)
    assert job(resources).status == "Stopped"


@pytest.mark.parametrize("compression", ["None", "Gzip"])
@pytest.mark.parametrize("split", ["None", "Line"])
async def test_a_record_that_is_too_large_is_refused_before_it_is_read(
    transforms: Transforms,
    resources: ResourceStore,
    store: Store,
    split: str,
    compression: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = b"1," * (10 * MEBI)
    store.objects["in/a.csv"] = gzip.compress(content, 1) if compression == "Gzip" else content
    add_job(resources, split=split, compression=compression, MaxPayloadInMB=1)
    read: list[int] = []

    def watched(inner: Any) -> Any:
        def method(size: int = -1) -> bytes:
            found: bytes = inner(size)
            read.append(len(found))
            return found

        return method

    opened = transforms._one_object.__globals__["_opened"]

    def open_watched(path: Path, kind: str | None) -> Any:
        handle = opened(path, kind)
        reader = io.BufferedReader(handle) if kind != "Gzip" else handle
        return Watched(reader, watched)

    monkeypatch.setitem(transforms._one_object.__globals__, "_opened", open_watched)
    transforms.begin("score")
    await ended(transforms)
    assert job(resources).status == "Failed"
    assert "MaxPayloadInMB" in job(resources).document["FailureReason"]
    assert max(read) <= MEBI + 2


class Watched:
    """A file that notes how much each read takes."""

    def __init__(self, handle: Any, watched: Any) -> None:
        self._handle = handle
        self.read = watched(handle.read)
        self.readline = watched(handle.readline)

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: Any) -> None:
        self._handle.close()

    def __iter__(self) -> Any:
        return iter(self.readline, b"")
