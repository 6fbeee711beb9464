"""A model of any family that hangs, crashes or uses too much memory is ended, and no other model waits for it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from airflow_automl.local.serving import model_host_client
from airflow_automl.local.serving.model_host_client import Container, ModelHost
from airflow_automl.local.serving.model_pool import HostingError
from airflow_automl.local.state.folder import DataFolder
from tests.unit.local.serving import misbehaving
from tests.unit.local.serving.misbehaving import payload

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ModelHost]:
    folder = DataFolder(tmp_path_factory.mktemp("families"))
    folder.prepare()
    (folder.models / "sha").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_host_client, "_LOOK", 0.05)
        found = ModelHost(folder, lambda: None, 2, (sys.executable, misbehaving.__file__))
        await found.start()
        yield found
        await found.stop()


@pytest.mark.parametrize("family", ["table", "text", "image", "timeseries", "generation"])
async def test_a_misbehaving_model_does_not_affect_other_models(host: ModelHost, family: str) -> None:
    def model(family: str) -> list[Container]:
        return [Container("image", "s3://automl/m.tar.gz", "sha", {"FAMILY": family})]

    async def ask(word: str, limit: float = 60) -> bytes:
        answer = await host.invoke(family, model(family), payload(family, word), limit)
        assert answer.status == 200, answer.body
        return answer.body

    async def ask_the_other() -> None:
        answer = await host.invoke("other", model("table"), payload("table", "good"))
        assert answer == (200, "text/csv; charset=utf-8", b"1.0\n")

    await ask_the_other()
    (other,) = (pool.processes[0] for (owner, _), pool in host._pools.items() if owner == "other")
    good = await ask("good")
    # Other requests that wait at the same time get their answer.
    bad, beside = asyncio.create_task(ask("die")), asyncio.create_task(ask("good"))
    await ask_the_other()
    with pytest.raises(HostingError, match="process ended while it worked on the request"):
        await bad
    assert await beside == good
    hung = asyncio.create_task(ask("hang", limit=1))
    await ask_the_other()
    with pytest.raises(HostingError, match="no answer within 1 seconds"):
        await hung
    assert await ask("good") == good
    host._memory_limit = sum(process.loaded for process in host._processes()) + (100 << 20)
    try:
        with pytest.raises(HostingError, match="--serving-memory"):
            await ask("eat")
    finally:
        host._memory_limit = None
    assert await ask("good") == good
    await ask_the_other()
    assert other in host._processes()
    host.release(family)
