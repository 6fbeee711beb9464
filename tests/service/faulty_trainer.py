"""The real trainer with a fault in what it uses, chosen by the first part of the job's name.

``hang``: LightGBM and XGBoost never come back from training, as a library that does not look at the clock.
``disk``: no file may grow beyond 200 kB, as on a disk that is nearly full.
``pause``, ``lost``: LightGBM begins to train when there is a file ``go`` in the job's folder; ``lost`` waits for no
store that is away.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import lightgbm
import xgboost

from airflow_automl.local import retry
from airflow_automl.local.training.main import main

folder = Path(sys.argv[-1])


def never(*args: Any, **kwargs: Any) -> None:
    while True:
        time.sleep(60)


def when_told(*args: Any, _train: Any = lightgbm.train, **kwargs: Any) -> Any:
    print("waits", flush=True)
    while not (folder / "go").exists():
        time.sleep(0.05)
    return _train(*args, **kwargs)


fault = json.loads((folder / "spec.json").read_text())["name"].partition("-")[0]
match fault:
    case "hang":
        for owner, name in ((lightgbm, "train"), (lightgbm.Booster, "update"), (xgboost.Booster, "update")):
            setattr(owner, name, never)
    case "disk":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    case "pause" | "lost":
        setattr(lightgbm, "train", when_told)  # noqa: B010 - a name that a type checker may not see through
        if fault == "lost":
            retry.TIMEOUT = 1.0
sys.exit(main(sys.argv[-1:]))
