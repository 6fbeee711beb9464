"""The embedded service with the scripted trainer, on a port that it keeps when it is killed and started again.

``python -m tests.integration.waiting.autopilot DATA_DIR PORT``. Airflow's connection names the port, so that it must
not change.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tests.service
from airflow_automl.demo.stack import free_port
from airflow_automl.local.server import serve
from airflow_automl.local.service import Settings
from tests.service.running import RunningService

MAX_JOBS = 64


class Autopilot(RunningService):
    """A service whose jobs follow the script in their S3 prefix; a step ``wait`` lasts until :meth:`release`."""

    def __init__(self, data_dir: Path) -> None:
        port = str(free_port())
        super().__init__(data_dir, [sys.executable, "-m", "tests.integration.waiting.autopilot", str(data_dir), port])

    def release(self, name: str) -> None:
        """Let a job continue."""
        (self.data_dir / "jobs" / name / "go").touch()


@contextmanager
def autopilot(data_dir: Path) -> Iterator[Autopilot]:
    """Run the service until the block ends."""
    service = Autopilot(data_dir)
    try:
        yield service
    finally:
        if service.process.poll() is not None:
            # The next service on the folder ends the processes that a killed one left.
            service.start()
        assert service.stop() == 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    trainer = Path(tests.service.__file__).with_name("scripted_trainer.py")
    command = (sys.executable, str(trainer), str(Path(sys.argv[1]).resolve()))
    settings = Settings(Path(sys.argv[1]), max_jobs=MAX_JOBS, job_memory=2 << 30, trainer_command=command)
    serve(settings, "127.0.0.1", int(sys.argv[2]), lambda url: print(f"ready {url}", flush=True))
