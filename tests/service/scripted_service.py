"""The whole service, with a trainer of this folder: ``python scripted_service.py DATA_DIR [JSON of Settings]``."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from airflow_automl.local.server import serve
from airflow_automl.local.service import Settings

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    options = json.loads(sys.argv[2])
    trainer = options.pop("trainer", "scripted_trainer.py")
    if "executor_file" in options:
        options["executor_file"] = Path(options["executor_file"])
    settings = Settings(
        Path(sys.argv[1]),
        trainer_command=(sys.executable, str(Path(__file__).with_name(trainer)), str(Path(sys.argv[1]).resolve())),
        **options,
    )
    serve(settings, "127.0.0.1", 0, lambda url: print(f"ready {url}", flush=True))
