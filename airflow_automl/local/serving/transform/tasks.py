"""Gives the objects of a transform job to tasks on the nodes of a Ray cluster: ``python -m … JOBDIR``.

Each task takes one object after the other, so that its model is loaded once, and nodes get as much as they can do. The
objects of a task that dies go to others. How the job ends is the last event in ``JOBDIR/events.jsonl``.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import shutil
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from airflow_automl.local.jobs.executors.jobs_api import one_line
from airflow_automl.local.jobs.specification import Share
from airflow_automl.local.retry import retrying
from airflow_automl.local.serving.model_host_client import Container, ModelHost
from airflow_automl.local.serving.transform.objects import Object, Worker, objects_of, reason_of, together
from airflow_automl.local.state.folder import DataFolder
from airflow_automl.local.storage.client import client
from airflow_automl.local.training.engines.events import EventLog
from airflow_automl.local.training.ray_tasks import RayTasks

log = logging.getLogger(__name__)

#: Tasks of one job at once; those without room wait, and the others do the work.
_TASKS = 64
#: Times that an object may begin whose task dies: it may be the object that kills it.
_ATTEMPTS = 3
_SCRATCH = "automl-transform-"


def main(folder: Path) -> None:
    """Run the job in a folder.

    :param folder: holds ``spec.json``.
    :raises Exception: the cluster is lost; what is left may be done by another attempt.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    job = json.loads((folder / "spec.json").read_text())
    events = EventLog(folder / "events.jsonl", job["attempt"])
    try:
        objects = retrying(lambda: objects_of(client(), job["request"], job["again"]))
    except Exception as error:
        reason: str | None = reason_of(error)
    else:
        log.info("Transform job %s, attempt %d, %d objects", job["job"], job["attempt"], len(objects))
        reason = _spread(job, objects)
    if reason is None:
        events.completed("Completed")
    else:
        log.error("The job failed: %s", reason)
        events.failed(reason)


def _spread(job: dict[str, Any], objects: list[Object]) -> str | None:
    """Have tasks work on all objects; return why that failed."""
    share, left, lost = Share(*job["share"]), deque(objects), Counter[str]()
    count = min(len(objects), _TASKS)
    at_once = min(2 * share.cores, max(1, len(objects) // count))
    room = {"num_cpus": share.cores, "num_gpus": share.gpus, "memory": share.memory}
    cluster, keys = RayTasks(_work), itertools.count()
    tasks: dict[Any, int] = {}
    given: dict[tuple[int, int], Object] = {}
    working: set[int] = set()
    bad: list[str] = []

    def start() -> None:
        key = next(keys)
        tasks[cluster.start(room, key, job, at_once)] = key

    for _ in range(count):
        start()
    while left or working:
        asked, ended = cluster.wait(tasks)
        # A task that has died may have asked before.
        if asked is not None and asked[0][0] in tasks.values():
            slot = asked[0]
            working.add(slot[0])
            given.pop(slot, None)
            # A task that dies later can't return it.
            if asked[1]:
                bad.append(asked[1])
            if left:
                given[slot] = left.popleft()
            cluster.answer(slot, given.get(slot))
        for task in ended:
            key = tasks.pop(task)
            working.discard(key)
            try:
                reason: str | None = cluster.ray.get(task)
                if reason is not None:
                    return reason
            except cluster.ray.exceptions.RayError as error:
                log.warning("Task %d died: %s", key, error)
                for slot in [slot for slot in given if slot[0] == key]:
                    each = given.pop(slot)
                    lost[each.source.uri] += 1
                    if lost[each.source.uri] == _ATTEMPTS:
                        return f"{each.source.uri}: its task died {_ATTEMPTS} times: {one_line(str(error))}"
                    left.appendleft(each._replace(again=True))
                    start()
                if not tasks:
                    raise
    return together(bad)


def _work(questions: Any, key: int, job: Mapping[str, Any], at_once: int) -> str | None:
    """Work on objects on a node until there are none; return why that failed."""
    from ray.exceptions import RayError

    _remove_leftovers()
    try:
        with tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{os.getpid()}-") as name:
            asyncio.run(_transform(questions, key, job, at_once, DataFolder(name)))
    except RayError:
        raise
    except Exception as error:
        return reason_of(error)
    return None


async def _transform(questions: Any, key: int, job: Mapping[str, Any], at_once: int, folder: DataFolder) -> None:
    folder.prepare()
    store, cores = client(), Share(*job["share"]).cores
    host = ModelHost(folder, lambda: store, cores)

    async def take(number: int, reason: str | None) -> Object | None:
        found: Object | None = await questions.ask.remote((key, number), reason)
        return found

    await host.start()
    try:
        containers = [Container(*each) for each in job["containers"]]
        await Worker(host, folder.root, lambda: store, cores).run(job["job"], job["request"], containers, take, at_once)
    finally:
        await host.stop()


def _remove_leftovers() -> None:
    """Remove the folders of tasks that were killed on this node."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        if not psutil.pid_exists(int(folder.name.split("-")[2])):
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    # Tasks find their function in the module of this name.
    from airflow_automl.local.serving.transform import tasks

    tasks.main(Path(sys.argv[1]))
