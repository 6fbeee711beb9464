"""Runs one trainer on a node of a cluster: ``python -m airflow_automl.local.jobs.executors.node s3://…/ATTEMPT/``.

The service and this process share nothing but the store. Under the address of the attempt, the service writes
:data:`SPECIFICATION`. This process writes numbered reports (:func:`report_key`), which hold the events of the trainer
and its log, and then :data:`BEAT`, which counts them and says how the trainer is. It stops the trainer when the
specification is deleted: a service that can't reach this node in any other way is still sure that nothing runs here.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from airflow_automl.local.jobs.executors.base import Handle, State
from airflow_automl.local.jobs.executors.local import COMMAND, LocalExecutor
from airflow_automl.local.retry import retrying, unreachable
from airflow_automl.local.state.folder import DataFolder
from airflow_automl.local.storage.client import client, parse_uri

log = logging.getLogger(__name__)

SPECIFICATION, BEAT = "specification.json", "beat.json"

#: Seconds between two looks at the trainer, and between two beats if nothing happens.
_INTERVAL, _BEAT_INTERVAL = 0.25, 2.0
_LOG_CHUNK = 1 << 20
#: Settings of the node that a trainer needs, though a trainer beside its service must not have them.
_KEPT_SETTINGS = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE")


def report_key(number: int) -> str:
    """Return the key of a report, counted from 0, below the address of its attempt."""
    return f"report-{number:08}.json"


class Exchange:
    """The objects of one attempt.

    :param store: a boto3 S3 client.
    :param uri: the address of the attempt, which ends with a slash.
    """

    def __init__(self, store: Any, uri: str) -> None:
        self._store = store
        self._bucket, self._prefix = parse_uri(uri)

    def write(self, key: str, document: dict[str, Any]) -> None:
        """Write one object."""
        self._store.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=json.dumps(document).encode())

    def read(self, key: str) -> dict[str, Any] | None:
        """Return one object; ``None`` if it is not there."""
        try:
            body = self._store.get_object(Bucket=self._bucket, Key=self._prefix + key)["Body"].read()
        except self._store.exceptions.NoSuchKey:
            return None
        return dict(json.loads(body))

    def delete(self, prefix: str = "") -> None:
        """Delete the objects with a prefix, whether there are any or not."""
        wanted = {"Bucket": self._bucket, "Prefix": self._prefix + prefix}
        for page in self._store.get_paginator("list_objects_v2").paginate(**wanted):
            for entry in page.get("Contents", ()):
                self._store.delete_object(Bucket=self._bucket, Key=entry["Key"])


class Node:
    """Runs the trainer of one attempt and reports until it has ended.

    :param exchange: the objects of the attempt.
    :param folder: for the trainer's files.
    """

    def __init__(self, exchange: Exchange, folder: Path) -> None:
        self._exchange = exchange
        self._folder = DataFolder(folder)
        self._stopping = threading.Event()
        self._reports = self._position = self._logged = 0
        self._beaten_at = 0.0

    def stop(self, *_: Any) -> None:
        """Stop the trainer at the next look."""
        self._stopping.set()

    def run(self) -> None:
        """Run the trainer.

        :raises Exception: the specification can't be read; then nothing ran.
        """
        # The beat comes first: a service that deletes the specification and then finds no beat knows that none comes.
        retrying(lambda: self._beat(0.0, 0, None))
        document = retrying(lambda: self._exchange.read(SPECIFICATION))
        if document is None:
            log.info("the attempt was withdrawn")
            self._beat(0.0, 0, "was stopped before it began")
            return
        kept = {name: os.environ[name] for name in _KEPT_SETTINGS if name in os.environ}
        command = document.get("command") or COMMAND
        executor = LocalExecutor(self._folder, command, lambda: kept, ends_with_parent=True)
        handle = executor.start({**document["specification"], "cluster": True})
        try:
            self._watch(executor, handle, self._folder.job(document["specification"]["name"]) / "trainer.log")
        finally:
            while not executor.stop(handle):
                time.sleep(0.02)

    def _watch(self, executor: LocalExecutor, handle: Handle, output: Path) -> None:
        ended: State | None = None
        while True:
            if ended is None and (self._stopping.is_set() or not executor.state(handle).running):
                ended = executor.state(handle)
                while not executor.stop(handle):
                    time.sleep(0.02)
            try:
                # The trainer has ended before the last look at what it wrote.
                if not self._report(executor, handle, output) and self._tell(executor, handle, ended):
                    return
            except Exception as error:
                if not unreachable(error):
                    raise
                log.warning("the store can't be reached, trying again: %s", error)
            self._stopping.wait(_INTERVAL) if ended is None else time.sleep(0.05)

    def _report(self, executor: LocalExecutor, handle: Handle, output: Path) -> bool:
        events, position = executor.events(handle, self._position)
        with output.open("rb") as file:
            file.seek(self._logged)
            text = file.read(_LOG_CHUNK)
        if not text and position == self._position:
            return False
        report = {"events": events, "log": text.decode("latin-1"), "offset": self._logged}
        self._exchange.write(report_key(self._reports), report)
        sys.stdout.buffer.write(text)
        sys.stdout.flush()
        self._reports, self._position, self._logged = self._reports + 1, position, self._logged + len(text)
        self._beaten_at = 0.0
        return True

    def _tell(self, executor: LocalExecutor, handle: Handle, ended: State | None) -> bool:
        """Beat if it is time; return whether that was the last beat."""
        if ended is None and time.monotonic() < self._beaten_at + _BEAT_INTERVAL:
            return False
        state = ended or executor.state(handle)
        how = None if ended is None else "was stopped" if ended.running else ended.ended
        self._beat(state.seconds, executor.usage(handle), how)
        if ended is None and self._exchange.read(SPECIFICATION) is None:
            log.info("the attempt was withdrawn")
            self.stop()
        return ended is not None

    def _beat(self, seconds: float, usage: int, ended: str | None) -> None:
        beat = {"reports": self._reports, "seconds": seconds, "usage": usage, "ended": ended, "at": time.time()}
        self._exchange.write(BEAT, beat)
        self._beaten_at = time.monotonic()


def main() -> None:
    """Run the trainer of the attempt at the address that the command line names."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with tempfile.TemporaryDirectory(prefix="automl-") as folder:
        node = Node(Exchange(client(), sys.argv[1]), Path(folder))
        signal.signal(signal.SIGTERM, node.stop)
        node.run()


if __name__ == "__main__":
    main()
