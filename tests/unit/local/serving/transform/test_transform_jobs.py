"""Transform jobs end with the correct status, also if the disk is full; too large objects are refused unread."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from airflow_automl.local import background
from airflow_automl.local.background import Background
from airflow_automl.local.errors import in_use
from airflow_automl.local.models import payloads
from airflow_automl.local.models.wire import Answer, Payload
from airflow_automl.local.serving.model_host_client import Columns, Container
from airflow_automl.local.serving.transform import objects as objects_module
from airflow_automl.local.serving.transform.jobs import Transforms
from airflow_automl.local.state.folder import DataFolder
from airflow_automl.local.state.resources import TRANSFORM_JOB, Resource, ResourceStore

MEBI = 1024 * 1024


class Store:
    """Objects in memory."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.writers: dict[str, dict[str, str]] = {}

    def get_paginator(self, _: str) -> Store:
        return self

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        return {"Body": io.BytesIO(self.objects[Key])}

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        return [{"Contents": [{"Key": key} for key in self.objects if key.startswith("in/")]}]

    def download_file(self, bucket: str, key: str, path: str) -> None:
        Path(path).write_bytes(self.objects[key])

    def upload_file(self, path: str, bucket: str, key: str, ExtraArgs: dict[str, Any]) -> None:  # noqa: N803
        self.objects[key] = Path(path).read_bytes()
        self.writers[key] = ExtraArgs["Metadata"]

    def head_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        if Key not in self.objects:
            raise ClientError({"ResponseMetadata": {"HTTPStatusCode": 404}}, "HeadObject")
        return {"Metadata": self.writers.get(Key, {})}


class Model:
    """Answers each payload with how many bytes it has, or never."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.names: list[str] = []
        self.payloads: list[bytes] = []

    def containers(self, model: Resource) -> list[Container]:
        return []

    async def columns(self, containers: Any) -> Columns:
        return Columns(self.names, False)

    async def invoke(self, owner: str, containers: Any, payload: Payload, limit: float, count: int) -> Answer:
        self.asked.set()
        self.payloads.append(payload.body)
        await self.go_on.wait()
        return Answer(200, "text/csv", f"{len(payload.body)}\n".encode())

    def release(self, owner: str) -> None:
        self.released = owner


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
    return Transforms(resources, model, model, folder, lambda: store, Background(), cores=2)


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

    opened = Path.open

    def open_watched(path: Path, mode: str = "r", **more: Any) -> Any:
        handle = opened(path, mode, **more)
        return Watched(handle, watched) if mode == "rb" and path.name.startswith("in") else handle

    monkeypatch.setattr(Path, "open", open_watched)
    transforms.begin("score")
    await ended(transforms)
    assert job(resources).status == "Failed"
    assert "MaxPayloadInMB" in job(resources).document["FailureReason"]
    assert max(read) <= MEBI + 2


async def test_a_job_continues_with_the_objects_that_are_left(
    transforms: Transforms, resources: ResourceStore, store: Store
) -> None:
    store.objects |= {f"in/{name}.csv": b"1,2\n" for name in "bc"} | {"in/.trainer/12ab/1/beat.json": b"{}"}
    # The first was written by this job, the second by an earlier one.
    store.objects |= {"out/a.csv.out": b"mine", "out/b.csv.out": b"theirs"}
    store.writers |= {"out/a.csv.out": {"transform-job": "score"}, "out/b.csv.out": {"transform-job": "other"}}
    add_job(resources, TransformStartTime=1.0)
    await transforms.start()
    await ended(transforms)
    assert job(resources).status == "Completed", job(resources).document
    assert job(resources).document["TransformStartTime"] == 1.0
    assert {key: store.objects[key] for key in store.objects if key.startswith("out/")} == {
        "out/a.csv.out": b"mine",
        "out/b.csv.out": b"4\n",
        "out/c.csv.out": b"4\n",
    }


async def test_answers_keep_the_order_of_their_records_and_few_are_in_memory_at_once(
    transforms: Transforms, resources: ResourceStore, store: Store, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects_module, "_SINGLE", 9)
    running, most = 0, 0

    async def invoke(owner: str, containers: Any, payload: Payload, *_: Any) -> Answer:
        nonlocal running, most
        running += 1
        most = max(most, running)
        # Later records are answered earlier.
        for _ in range(100 - int(payload.body)):
            await asyncio.sleep(0)
        running -= 1
        return Answer(200, "text/csv", payload.body)

    model.invoke = invoke
    store.objects = {f"in/{name}.csv": b"".join(b"%d\n" % number for number in range(100)) for name in "ab"}
    expected = store.objects["in/a.csv"]
    add_job(resources, BatchStrategy="SingleRecord")
    transforms.begin("score")
    await ended(transforms)
    assert job(resources).status == "Completed", job(resources).document
    assert store.objects["out/a.csv.out"] == store.objects["out/b.csv.out"] == expected
    assert 5 <= most <= 2 * 10


async def test_rows_of_tables_come_in_payloads_that_keep_all_processes_busy(
    transforms: Transforms, resources: ResourceStore, store: Store, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects_module, "_TABLE", 8)
    model.names = ["a", "b"]
    model.go_on.clear()
    store.objects = {f"in/{name}.csv": b"1,2\n3,4\n5,6\n7,8\n9,0\n" for name in "abcdef"}
    add_job(resources)
    transforms.begin("score")
    # Of two processes' job, four objects are worked on, with two payloads each.
    while len(model.payloads) < 8:
        await asyncio.sleep(0)
        assert job(resources).status == "InProgress", job(resources).document
    assert sorted(model.payloads) == [b"1,2\n3,4\n"] * 4 + [b"5,6\n7,8\n"] * 4
    model.go_on.set()
    await ended(transforms)
    assert job(resources).status == "Completed", job(resources).document
    assert {store.objects[f"out/{name}.csv.out"] for name in "abcdef"} == {b"8\n8\n4\n"}


async def test_payloads_grow_while_the_model_answers_soon_and_shrink_when_it_does_not(
    transforms: Transforms, resources: ResourceStore, store: Store, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects_module, "_FIRST", 16)
    monkeypatch.setattr(objects_module, "_LEAST", 4)
    monkeypatch.setattr(objects_module, "_SOON", math.inf)
    model.names = ["a", "b"]
    store.objects = {"in/a.csv": b"1,2\n" * 1000}
    add_job(resources)
    transforms.begin("score")
    await ended(transforms)
    sizes = [len(payload) for payload in model.payloads]
    # How many are cut before an answer comes is left open.
    assert sizes[0] == 16
    assert sizes[:-1] == sorted(sizes[:-1])
    assert max(sizes) > 500
    model.payloads = []
    monkeypatch.setattr(objects_module, "_SOON", -2.0)
    monkeypatch.setattr(objects_module, "_LATE", -1.0)
    resources.update(TRANSFORM_JOB, "score", status="InProgress")
    store.writers.clear()
    transforms.begin("score")
    await ended(transforms)
    assert len(model.payloads[0]) == 16
    assert len(model.payloads[-1]) == 4
    assert b"".join(model.payloads) == store.objects["in/a.csv"]


async def test_objects_that_are_bad_fail_the_job_once_all_others_are_done(
    transforms: Transforms, resources: ResourceStore, store: Store, model: Model
) -> None:
    answer = model.invoke

    async def invoke(owner: str, containers: Any, payload: Payload, *others: Any) -> Answer:
        if b"bad" in payload.body:
            return Answer(400, "text/plain", b"it is bad")
        return await answer(owner, containers, payload, *others)

    model.invoke = invoke
    packed = gzip.compress(b"4\n")
    store.objects = {f"in/{name}.csv.gz": gzip.compress(name.encode() + b"\n") for name in ("1", "2-bad", "3")}
    store.objects |= {"in/4.csv.gz": packed[:-9], "in/5.csv.gz": packed}
    add_job(resources, compression="Gzip")
    transforms.begin("score")
    await ended(transforms)
    assert job(resources).status == "Failed"
    reason = job(resources).document["FailureReason"]
    assert reason == "s3://automl/in/2-bad.csv.gz: the model answered 400: it is bad (and 1 more object)"
    assert sorted(key for key in store.objects if key.startswith("out/")) == [
        *("out/1.csv.gz.out", "out/3.csv.gz.out", "out/5.csv.gz.out")
    ]


async def test_a_job_that_fails_ends_what_it_works_on(
    transforms: Transforms, resources: ResourceStore, store: Store, model: Model
) -> None:
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def invoke(owner: str, containers: Any, payload: Payload, *_: Any) -> Answer:
        if payload.body == b"bad\n":
            await asked.wait()
            return Answer(500, "text/plain", b"it is broken")
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError("unreachable")

    model.invoke = invoke
    store.objects = {"in/a.csv": b"good\n", "in/b.csv": b"bad\n"}
    add_job(resources)
    transforms.begin("score")
    await ended(transforms)
    assert job(resources).document["FailureReason"] == "s3://automl/in/b.csv: the model answered 500: it is broken"
    assert cancelled.is_set()
    assert model.released == "transform-job:score"


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


class Echo(Model):
    """Answers each row with the length of its first value, and keeps the payloads."""

    def __init__(self, names: list[str], escaped: bool, apart: bool) -> None:
        super().__init__()
        self.names, self.escaped, self.apart = names, escaped, apart
        self.payloads: list[bytes] = []
        self.types: list[str] = []

    async def columns(self, containers: Any) -> Columns:
        return Columns(self.names, self.escaped, self.apart)

    async def invoke(self, owner: str, containers: Any, payload: Payload, *_: Any) -> Answer:
        kind = payload.content_type or ""
        self.payloads.append(payload.body)
        self.types.append(kind)
        table = payloads.csv_table(payload.body, kind, escaped=self.escaped)
        values = table.column(0).to_pylist()
        rows = values[1:] if "header=present" in kind else values
        return Answer(200, "text/csv", "".join(f"{len(value)}\n" for value in rows).encode())


@pytest.fixture
def echo(model: Any) -> Any:
    def become(names: list[str], escaped: bool, apart: bool = True) -> Echo:
        found = Echo(names, escaped, apart)
        model.columns, model.invoke = found.columns, found.invoke
        return found

    return become


ESCAPED = b'say,b\n"say \\"hi\\", you",1\n"5 \\"",2\n"C:\\\\",3\n'


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("single", [True, False])
async def test_filters_and_joins_read_escaped_quotes_as_the_model_does(
    transforms: Transforms, resources: ResourceStore, store: Store, echo: Any, escaped: bool, single: bool
) -> None:
    echo(["say", "b"], escaped)
    store.objects["in/a.csv"] = ESCAPED
    processing = {"InputFilter": "$[0,1]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"}
    output = {"S3OutputPath": "s3://automl/out", "AssembleWith": "Line"}
    strategy = "SingleRecord" if single else "MultiRecord"
    add_job(resources, DataProcessing=processing, BatchStrategy=strategy, TransformOutput=output)
    transforms.begin("score")
    await ended(transforms)
    assert job(resources).status == "Completed", job(resources).document
    found = list(csv.reader(store.objects["out/a.csv.out"].decode().splitlines()))
    assert found == [['say "hi", you', "13"], ['5 "', "3"], ["C:\\", "3"]]


async def test_history_of_forecasts_is_not_cut_into_rows(
    transforms: Transforms, resources: ResourceStore, store: Store, echo: Any
) -> None:
    echo(["say", "b"], True, False)
    store.objects["in/a.csv"] = ESCAPED
    add_job(resources, BatchStrategy="SingleRecord")
    transforms.begin("score")
    await ended(transforms)
    assert job(resources).status == "Failed"
    assert "must not be cut" in job(resources).document["FailureReason"]


async def test_history_of_forecasts_keeps_its_header_in_every_payload(
    transforms: Transforms, resources: ResourceStore, store: Store, echo: Any
) -> None:
    model = echo(["say", "b"], True)
    store.objects["in/a.csv"] = ESCAPED
    add_job(resources, BatchStrategy="SingleRecord")
    transforms.begin("score")
    await ended(transforms)
    assert model.types == ["text/csv;header=present;escape=absent"] * 3
    assert model.payloads[0] == b'say,b\n"say ""hi"", you",1\n'


async def listed(transforms: Transforms, resources: ResourceStore, store: Store, manifest: Any) -> Resource:
    store.objects["in/m.json"] = json.dumps(manifest).encode()
    add_job(resources)
    given = job(resources).document["TransformInput"]
    source = {"S3DataSource": {"S3DataType": "ManifestFile", "S3Uri": "s3://automl/in/m.json"}}
    resources.update("transform-job", "score", TransformInput={**given, "DataSource": source})
    transforms.begin("score")
    await ended(transforms)
    return job(resources)


async def test_a_manifest_lists_the_objects(transforms: Transforms, resources: ResourceStore, store: Store) -> None:
    found = await listed(transforms, resources, store, [{"prefix": "s3://automl/in/"}, "a.csv"])
    assert found.status == "Completed", found.document
    assert "out/a.csv.out" in store.objects


@pytest.mark.parametrize("manifest", [{}, [], ["a.csv"], [{"prefix": "s3://automl/in/"}, 3]])
async def test_a_manifest_of_another_shape_is_refused(
    transforms: Transforms, resources: ResourceStore, store: Store, manifest: Any
) -> None:
    found = await listed(transforms, resources, store, manifest)
    assert found.status == "Failed"
    assert "The manifest s3://automl/in/m.json must be a list that starts with" in found.document["FailureReason"]


@pytest.mark.parametrize("apart", [True, False])
async def test_series_of_forecasts_are_cut_at_the_largest_payload_alone(
    transforms: Transforms, resources: ResourceStore, store: Store, echo: Any, apart: bool
) -> None:
    model = echo(["item", "date"], False)
    model.apart = apart
    store.objects["in/a.csv"] = b"item,date\n" + b"store 1,2024-01-31\n" * 20_000
    add_job(resources)
    transforms.begin("score")
    await ended(transforms)
    assert job(resources).status == "Completed", job(resources).document
    assert store.objects["out/a.csv.out"].count(b"\n") == 20_000
    assert (len(model.payloads) == 1) is not apart


async def test_joined_records_keep_their_lines_over_several_payloads(
    transforms: Transforms, resources: ResourceStore, store: Store, echo: Any
) -> None:
    echo(["a", "b"], False)
    rows = [f"{'x' * (number % 50 + 1)},{number}" for number in range(20_000)]
    store.objects["in/a.csv"] = "\n".join(rows).encode()
    add_job(resources, DataProcessing={"JoinSource": "Input"})
    transforms.begin("score")
    await ended(transforms)
    assert job(resources).status == "Completed", job(resources).document
    assert store.objects["out/a.csv.out"].decode().splitlines() == [f"{row},{row.index(',')}" for row in rows]


@pytest.mark.parametrize("processing", [{"JoinSource": "Input"}, {"InputFilter": "$[0]"}, {"OutputFilter": "$[0]"}])
async def test_rows_that_are_not_split_are_not_filtered_as_one(
    transforms: Transforms, resources: ResourceStore, store: Store, echo: Any, processing: dict[str, str]
) -> None:
    echo(["a", "b"], False)
    add_job(resources, split="None", DataProcessing=processing)
    transforms.begin("score")
    await ended(transforms)
    assert job(resources).status == "Failed", store.objects
    assert "use SplitType Line" in job(resources).document["FailureReason"]


async def test_one_row_that_is_not_split_is_joined(
    transforms: Transforms, resources: ResourceStore, store: Store, echo: Any
) -> None:
    echo(["a", "b"], False)
    store.objects["in/a.csv"] = b"xyz,2\n"
    add_job(resources, split="None", DataProcessing={"JoinSource": "Input"})
    transforms.begin("score")
    await ended(transforms)
    assert store.objects["out/a.csv.out"] == b"xyz,2,3"


async def test_a_job_that_continues_does_not_read_its_own_outputs(
    transforms: Transforms, resources: ResourceStore, store: Store, model: Model
) -> None:
    store.objects = {"in/a.csv": b"1,2\n", "in/out/a.csv.out": b"4\n", "in/out/old.out": b"5,6\n"}
    store.writers = {"in/out/a.csv.out": {"transform-job": "score"}, "in/out/old.out": {"transform-job": "yesterday"}}
    add_job(resources, TransformOutput={"S3OutputPath": "s3://automl/in/out"}, TransformStartTime=1.0)
    transforms.begin("score")
    await ended(transforms)
    assert job(resources).status == "Completed", job(resources).document
    assert model.payloads == [b"5,6\n"]


async def test_an_object_that_is_compressed_unexpectedly_is_named(
    transforms: Transforms, resources: ResourceStore, store: Store, echo: Any
) -> None:
    echo(["a", "b"], False)
    store.objects["in/a.csv"] = gzip.compress(b"1,2\n")
    add_job(resources)
    transforms.begin("score")
    await ended(transforms)
    hint = "(the object is gzip-compressed: set CompressionType Gzip)"
    assert job(resources).document["FailureReason"].endswith(hint)
