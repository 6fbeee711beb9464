"""The ``[automl]`` section of Airflow's configuration, read in this one place.

Every option is documented in :mod:`airflow_automl.get_provider_info`, where Airflow takes its defaults from.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

from airflow_automl.contract.wording import unknown
from airflow_automl.exceptions import AutoMLValidationError

SECTION = "automl"
#: The options that a user can set, as :mod:`airflow_automl.get_provider_info` declares them.
OPTIONS = ("poll_interval", "max_runtime", "deployment", "manual_dag", "max_calls_per_second", "prices")
_ENVIRONMENT = f"AIRFLOW__{SECTION.upper()}__"


def _value(option: str) -> Any:
    """Return what the configuration says for an option, once all names in the section are known to be valid."""
    from airflow.configuration import conf

    given = conf.options(SECTION) if conf.has_section(SECTION) else []
    given += [
        name.removeprefix(_ENVIRONMENT).removesuffix("_CMD").removesuffix("_SECRET").lower()
        for name in os.environ
        if name.startswith(_ENVIRONMENT)
    ]
    if problems := [f"{name} {unknown(name, OPTIONS)}" for name in given if name not in OPTIONS]:
        raise AutoMLValidationError(f"[{SECTION}] in Airflow's configuration", problems)
    return conf.get(SECTION, option, fallback=None)


def _number(option: str, fallback: float | None, minimum: float) -> float | None:
    text = _value(option)
    if text is None or not str(text).strip():
        return fallback
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not minimum <= value < float("inf"):
        raise AutoMLValidationError(
            f"[{SECTION}] {option} in Airflow's configuration",
            [f"{option}: expected a number of at least {minimum:g}, received {text!r}"],
        )
    return value


def poll_interval() -> float:
    """Seconds between two polls of a job, if a task sets no ``poll_interval``."""
    return _number("poll_interval", 30.0, 1.0) or 30.0


def max_runtime() -> timedelta | None:
    """The longest that any job may run; ``None``: no limit."""
    seconds = _number("max_runtime", None, 1.0)
    return None if seconds is None else timedelta(seconds=seconds)


def max_calls_per_second() -> float:
    """How many calls a second the watcher of one connection may make, as long as it is not throttled."""
    return _number("max_calls_per_second", 20.0, 0.1) or 20.0


def prices() -> dict[str, Any] | None:
    """What an hour of a job costs (:mod:`airflow_automl.cost`), if the connection does not say."""
    text = _value("prices")
    if text is None or not str(text).strip():
        return None
    from airflow_automl.cost import price_problems

    try:
        given = json.loads(text)
    except ValueError as error:
        problems = [f"prices: expected JSON, received {text[:80]!r}: {error}"]
    else:
        problems = price_problems(given)
    if problems:
        raise AutoMLValidationError(f"[{SECTION}] prices in Airflow's configuration", problems)
    return dict(given)


def default_deferrable() -> bool:
    """Airflow's own ``[operators] default_deferrable``."""
    from airflow.configuration import conf

    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


def deployment() -> str:
    """Which Airflow this is; by default its ``[api] base_url``. Part of every derived job name."""
    from airflow.configuration import conf

    return str(_value("deployment") or conf.get("api", "base_url", fallback=None) or "").rstrip("/")


def manual_dag() -> str:
    """The DAG that the AutoML pages start with a job's configuration filled in."""
    return str(_value("manual_dag") or "manual_automl")
