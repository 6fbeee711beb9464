"""Artefacts on their way from the store to the model host, and requests on their way to the processes of models."""

from __future__ import annotations

import asyncio
import hashlib
import io
import shutil
import sys
import tarfile
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from boto3.exceptions import RetriesExceededError

from airflow_automl.local.models.wire import Answer, Payload
from airflow_automl.local.processes import identify
from airflow_automl.local.serving import model_host_client, model_pool
from airflow_automl.local.serving.model_host_client import Container, ModelHost, key_of
from airflow_automl.local.serving.model_pool import BusyError, HostingError, ModelPool
from airflow_automl.local.state.folder import DataFolder
from tests.service.running import until


async def test_models_that_share_an_artefact_may_be_loaded_at_once(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "can't be kept in .*No space left on device"),
        (RetriesExceededError(ValueError("cut off")), "can't be read: Max Retries Exceeded"),
    ],
)
async def test_an_artefact_that_can_not_be_fetched_is_named(tmp_path: Path, error: Exception, reason: str) -> None:
    class Store:
        def download_file(self, *_: Any) -> None:
            raise error

    folder = DataFolder(tmp_path / "data")
    folder.prepare()
    with pytest.raises(HostingError, match=f"s3://automl/model.tar.gz {reason}"):
        await ModelHost(folder, Store, 1).columns([Container("image", "s3://automl/model.tar.gz", "0" * 64, {})])


#: A host whose models follow the body of a request, and otherwise answer how many requests came together.
SCRIPT = """
import os, sys, time
from airflow_automl.local.models import artifacts, host

held = []

class Model:
    def respond(self, requests):
        for request in requests:
            word, _, file = request.body.decode().partition(" ")
            if word == "wait":
                open(file, "w").close()
                while os.path.exists(file):
                    time.sleep(0.01)
            if word == "die" or (word == "die-once" and not os.path.exists(file)):
                open(file or os.devnull, "w").close()
                os._exit(9)
            if word == "eat":
                held.append(bytearray(os.urandom(1 << 20) * 200))
                time.sleep(60)
            if word == "pid":
                return [(str(os.getpid()).encode(), "text/csv")]
        return [(str(len(requests)).encode(), "text/csv")] * len(requests)

def load(folders, environments, threads):
    if environments[0].get("FAIL"):
        raise artifacts.ArtifactError("no such model")
    return Model()

artifacts.load_folders = load
sys.exit(host.main(sys.argv[1:]))
"""
FIRST, OTHER, THIRD = ([Container("image", "s3://automl/m.tar.gz", sha, {})] for sha in ("first", "other", "third"))


class Asked:
    """A host of the script above, and short ways to ask it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        script = folder / "host.py"
        script.write_text(SCRIPT)
        data = DataFolder(folder / "data")
        data.prepare()
        for model in (FIRST, OTHER, THIRD):
            (data.models / model[0].sha256).mkdir()
        self.folder = folder
        self.host = ModelHost(data, lambda: None, 2, (sys.executable, str(script)), **options)

    async def __call__(self, model: list[Container], body: str, limit: float = 30, count: int = 1) -> str:
        answer = await self.host.invoke("owner", model, Payload(body.encode()), limit, count)
        assert answer.status == 200
        return answer.body.decode()

    async def held(self, model: list[Container], name: str, **options: Any) -> tuple[asyncio.Task[str], Path]:
        """A request that is being answered until its file is removed."""
        file = self.folder / name
        task = asyncio.create_task(self(model, f"wait {file}", **options))
        while not file.exists():
            await asyncio.sleep(0.01)
            assert not task.done(), task
        return task, file


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def looks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_host_client, "_LOOK", 0.05)
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asked(looks: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Asked]:
    found = Asked(tmp_path_factory.mktemp("asked"))
    await found.host.start()
    yield found
    await found.host.stop()


@pytest.fixture
def ask(asked: Asked, tmp_path: Path) -> Iterator[Asked]:
    """The one host of all these tests, without a model."""
    asked.folder = tmp_path
    yield asked
    asked.host._memory_limit = None
    asked.host.release("owner")


async def test_waiting_requests_of_a_model_are_answered_by_one_prediction(
    ask: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[str, int]] = []
    monkeypatch.setattr(ask.host, "_batched", lambda owner, size: sizes.append((owner, size)))
    assert await ask(FIRST, "") == "1"
    holding, file = await ask.held(FIRST, "a")
    waiting = [asyncio.create_task(ask(FIRST, "")) for _ in range(100)]
    gone = asyncio.create_task(ask(FIRST, "die"))
    await asyncio.sleep(0)
    gone.cancel()
    # Models do not wait for each other.
    assert await ask(OTHER, "") == "1"
    file.unlink()
    assert await holding == "1"
    assert await asyncio.gather(*waiting) == ["64"] * 64 + ["36"] * 36
    assert sizes == [("owner", size) for size in (1, 1, 1, 64, 36)]


async def test_a_batch_is_bounded_by_bytes(ask: Asked) -> None:
    holding, file = await ask.held(FIRST, "a")
    waiting = [asyncio.create_task(ask(FIRST, " " * (400 << 10))) for _ in range(3)]
    large = asyncio.create_task(ask(FIRST, " " * (3 << 20)))
    await asyncio.sleep(0)
    file.unlink()
    assert [await task for task in [holding, *waiting, large]] == ["1", "2", "2", "1", "1"]


async def test_a_hung_prediction_is_ended_at_its_limit_and_delays_no_other_model(ask: Asked) -> None:
    pid = int(await ask(FIRST, "pid"))
    await ask(OTHER, "")
    hung = asyncio.create_task(ask(FIRST, f"wait {ask.folder / 'never'}", 0.5))
    assert await ask(OTHER, "") == "1"
    with pytest.raises(HostingError, match=r"no answer within 0 seconds"):
        await hung
    assert int(await ask(FIRST, "pid")) != pid
    await asyncio.to_thread(until, lambda: identify(pid) is None)


async def test_a_request_that_ends_its_process_fails_alone(ask: Asked) -> None:
    other = await ask(OTHER, "pid")
    holding, file = await ask.held(FIRST, "a")
    good = [asyncio.create_task(ask(FIRST, "")) for _ in range(3)]
    bad = asyncio.create_task(ask(FIRST, "die"))
    await asyncio.sleep(0)
    file.unlink()
    assert await asyncio.gather(holding, *good) == ["1"] * 4
    with pytest.raises(HostingError, match="process ended while it worked on the request"):
        await bad
    assert await ask(FIRST, f"die-once {ask.folder / 'died'}") == "1"
    assert await ask(OTHER, "pid") == other


async def test_a_model_that_takes_too_much_memory_is_ended_and_says_so(ask: Asked) -> None:
    other = await ask(OTHER, "pid")
    await ask(FIRST, "")
    loaded = sum(process.loaded for process in ask.host._processes())
    ask.host._memory_limit = loaded + (100 << 20)
    with pytest.raises(HostingError, match=r"the model used 0\.\d GiB.*--serving-memory"):
        await ask(FIRST, "eat")
    assert await ask(OTHER, "pid") == other
    assert await ask(FIRST, "") == "1"


async def test_the_least_recently_used_model_is_unloaded(ask: Asked) -> None:
    pids = {key_of(model): int(await ask(model, "pid")) for model in (FIRST, OTHER)}
    await ask(FIRST, "")
    ask.host._memory_limit = sum(process.loaded for process in ask.host._processes()) + (1 << 20)
    await ask(THIRD, "")
    await asyncio.to_thread(until, lambda: identify(pids[key_of(OTHER)]) is None)
    assert int(await ask(FIRST, "pid")) == pids[key_of(FIRST)]


async def test_a_model_without_requests_is_unloaded_until_the_next_one(
    ask: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding, file = await ask.held(OTHER, "a")
    pid = int(await ask(FIRST, "pid"))
    monkeypatch.setattr(model_host_client, "_IDLE", 0.0)
    await asyncio.to_thread(until, lambda: identify(pid) is None)
    monkeypatch.undo()
    assert int(await ask(FIRST, "pid")) != pid
    file.unlink()
    assert await holding == "1"


async def test_a_variant_has_as_many_processes_as_instances_and_cores(ask: Asked) -> None:
    held = [await ask.held(FIRST, name, count=5) for name in "ab"]
    third = asyncio.create_task(ask(FIRST, "", count=5))
    pool = next(iter(ask.host._pools.values()))
    assert len(pool.processes) == pool.most == 2
    assert not third.done()
    for _, file in held:
        file.unlink()
    assert [await task for task in [*(task for task, _ in held), third]] == ["1"] * 3
    # With fewer instances, the surplus ends as soon as it is free.
    assert await ask(FIRST, "") == "1"
    assert len(pool.processes) == pool.most == 1
    ask.host.release("owner")
    assert not pool.processes
    assert not ask.host._pools


async def test_a_process_that_starts_while_requests_come_is_kept() -> None:
    class Process:
        busy = gone = False

        async def ask(self, requests: list[Payload]) -> list[Answer]:
            return [Answer(200, "text/csv", b"")] * len(requests)

    ready, started = asyncio.Event(), 0

    async def start() -> Any:
        nonlocal started
        started += 1
        await ready.wait()
        return Process()

    pool = ModelPool(start)
    asked = []
    for _ in range(3):
        asked.append(asyncio.create_task(pool.invoke(Payload(b""), 30)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    ready.set()
    await asyncio.gather(*asked)
    assert (started, len(pool.processes)) == (1, 1)


async def test_more_requests_than_may_wait_for_a_model_are_refused(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_pool, "_WAITING", 1)
    holding, file = await ask.held(FIRST, "a")
    waiting = asyncio.create_task(ask(FIRST, ""))
    await asyncio.sleep(0)
    with pytest.raises(BusyError, match="1 requests wait"):
        await ask(FIRST, "")
    assert await ask(OTHER, "") == "1"
    file.unlink()
    assert [await holding, await waiting] == ["1", "1"]


async def test_a_host_that_dies_costs_no_request(ask: Asked) -> None:
    holding, file = await ask.held(FIRST, "a", limit=120)
    waiting = [asyncio.create_task(ask(FIRST, "", limit=120)) for _ in range(3)]
    await asyncio.sleep(0)
    ask.host._child.kill()
    while not holding.done():
        # The next process holds it too, if the first one has died with its host.
        file.unlink(missing_ok=True)
        await asyncio.sleep(0.01)
    assert await holding == "1"
    assert set(await asyncio.gather(*waiting)) <= {"1", "2", "3"}


async def test_waiting_requests_do_not_restart_a_stopped_host(looks: None, tmp_path: Path) -> None:
    ask = Asked(tmp_path)
    await ask.host.start()
    holding, _ = await ask.held(FIRST, "a")
    waiting = asyncio.create_task(ask(FIRST, ""))
    await asyncio.sleep(0)
    await ask.host.stop()
    found = await asyncio.gather(holding, waiting, return_exceptions=True)
    assert [str(error) for error in found] == ["the service ends"] * 2
    assert not ask.host._running()


async def test_a_model_that_cannot_be_loaded_says_why_to_all_who_wait(ask: Asked) -> None:
    broken = [FIRST[0]._replace(environment={"FAIL": "yes"})]
    found = await asyncio.gather(*(ask(broken, "") for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in found] == ["no such model"] * 3
    assert await ask(FIRST, "") == "1"


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
        (folder.models / "first").mkdir()
        await host.load("owner", FIRST)
