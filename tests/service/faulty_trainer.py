"""The real trainer with a fault in what it uses, chosen by the first part of the job's name.

``hang``: LightGBM and XGBoost never come back from training, as a library that does not look at the clock.
``disk``: no file may grow beyond 200 kB, as on a disk that is nearly full.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

from airflow_automl.local.trainer import main


def never(*args: Any, **kwargs: Any) -> None:
    while True:
        time.sleep(60)


fault = json.loads((Path(sys.argv[1]) / "spec.json").read_text())["name"].partition("-")[0]
if fault == "hang":
    import lightgbm
    import xgboost

    lightgbm.train = lightgbm.Booster.update = xgboost.Booster.update = never
elif fault == "disk":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
sys.exit(main(sys.argv[1:2]))
