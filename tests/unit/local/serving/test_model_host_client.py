"""Artefacts on their way from the store to the model host."""

from __future__ import annotations

import asyncio
import hashlib
import io
import shutil
import sys
import tarfile
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airflow_automl.local.serving import model_host_client
from airflow_automl.local.serving.model_host_client import Container, HostingError, ModelHost
from airflow_automl.local.state.folder import DataFolder


def test_models_that_share_an_artefact_may_be_loaded_at_once(tmp_path: Path) -> None:
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        entry = tarfile.TarInfo("metadata.json")
        entry.size = 2
        tar.addfile(entry, io.BytesIO(b"{}"))
    both = threading.Barrier(2, timeout=10)

    class Store:
        def download_file(self, bucket: str, key: str, path: str) -> None:
            both.wait()
            shutil.copy(archive, path)

    folder = DataFolder(tmp_path / "data")
    folder.prepare()
    host = ModelHost(folder, Store, 1)
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    models = [Container("image", "s3://automl/model.tar.gz", sha256, {"OUTPUT": output}) for output in ("a", "b")]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(host._fetch, models)) == [folder.models / sha256] * 2
    assert [path.name for path in folder.models.iterdir()] == [sha256]


#: Answers everything but ``wait``, which it keeps waiting for ever, and ``freeze``, after which it answers nothing.
SCRIPT = """
import asyncio, sys, time
import uvicorn

async def application(scope, receive, send):
    if scope["type"] == "http":
        body = (await receive()).get("body", b"")
        if body == b"wait":
            await asyncio.Event().wait()
        if body == b"freeze":
            time.sleep(600)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

uvicorn.run(application, uds=sys.argv[2], log_config=None, lifespan="off")
"""
MODELS = [[Container("image", "s3://automl/m.tar.gz", sha256, {})] for sha256 in ("slow", "other")]

Start = Callable[..., Any]


@pytest.fixture
async def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Make a host of the script above, and start it."""
    monkeypatch.setattr(model_host_client, "_LOOK", 0.2)
    script = tmp_path / "host.py"
    script.write_text(SCRIPT)
    hosts = []

    async def make(**options: Any) -> ModelHost:
        folder = DataFolder(tmp_path / "data")
        folder.prepare()
        host = ModelHost(folder, lambda: None, 1, (sys.executable, str(script)), **options)
        hosts.append(host)
        await host.start()
        return host

    yield make
    for host in hosts:
        await host.stop()


async def test_requests_that_wait_for_one_model_keep_no_other_waiting(start: Start) -> None:
    host = await start()
    slow = [asyncio.create_task(host.invoke(MODELS[0], b"wait", {})) for _ in range(100)]
    await host.invoke(MODELS[0], b"", {})
    answer = await asyncio.wait_for(host.invoke(MODELS[1], b"1,2", {}), 20)
    assert answer.body == b"1,2"
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


async def test_a_host_that_takes_too_much_memory_is_killed_and_says_so(start: Start) -> None:
    host = await start(memory_limit=1 << 20)
    with pytest.raises(HostingError, match=r"their limit is 0\.0 GiB.*--model-memory"):
        await host.invoke(MODELS[0], b"wait", {})


async def test_a_host_that_answers_nothing_is_replaced(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_host_client, "_SILENCE", 0.5)
    host = await start()
    with pytest.raises(HostingError):
        await host.invoke(MODELS[0], b"freeze", {})
    assert (await host.invoke(MODELS[1], b"1,2", {})).body == b"1,2"


async def test_a_socket_folder_that_others_can_change_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = DataFolder(tmp_path / ("long-" * 30))
    folder.prepare()
    host = ModelHost(folder, lambda: None, 1)
    host._socket.parent.mkdir()
    host._socket.parent.chmod(0o777)
    with pytest.raises(HostingError, match="is open to others"):
        await host.invoke(MODELS[0], b"", {})
