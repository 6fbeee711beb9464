"""Which engine trains which problem family, and what has to be installed for it."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass

from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.training.engines.base import Engine


@dataclass(frozen=True)
class Family:
    """A problem family.

    :param module: where its engine is: a module with a function ``train``.
    :param extra: the extra of this package that brings what it needs.
    :param packages: import names of that.
    """

    module: str
    extra: str
    packages: tuple[str, ...]


FAMILIES = {
    "TextClassificationJobConfig": Family(
        "airflow_automl.local.training.engines.text.engine", "text", ("sklearn", "onnxruntime", "tokenizers")
    ),
    "ImageClassificationJobConfig": Family(
        "airflow_automl.local.training.engines.image.engine", "image", ("sklearn", "onnxruntime", "PIL")
    ),
    "TabularJobConfig": Family(
        "airflow_automl.local.training.engines.tabular.engine",
        "local",
        ("autogluon.tabular", "optuna", "pyarrow", "nbformat"),
    ),
    "TextGenerationJobConfig": Family(
        "airflow_automl.local.training.engines.generation.engine",
        "llm",
        ("pyarrow", "torch", "transformers", "peft", "safetensors"),
    ),
    "TimeSeriesForecastingJobConfig": Family(
        "airflow_automl.local.training.engines.timeseries.engine",
        "timeseries",
        ("holidays", "prophet", "pyarrow", "statsforecast"),
    ),
}
"""Configuration of the problem type → what trains it."""


def engine_for(family: str) -> Engine:
    """Return the engine of a problem family.

    :param family: the configuration's name, such as ``TabularJobConfig``.
    :raises JobFailure: nothing here trains it, or a package is not installed; the message names the extra.
    """
    known = FAMILIES.get(family)
    if known is None:
        raise JobFailure(
            f"The embedded Autopilot does not train {family.removesuffix('JobConfig')} jobs; "
            f"it trains {listing(name.removesuffix('JobConfig') for name in FAMILIES)}. On AWS this job would run."
        )
    lacking = missing(known.packages)
    if lacking:
        raise JobFailure(
            f"{family.removesuffix('JobConfig')} jobs need {listing(lacking)}, not installed here: "
            f"run `pip install 'airflow-automl[{known.extra}]'` where the embedded Autopilot runs."
        )
    engine: Engine = importlib.import_module(known.module).train
    return engine


def missing(packages: Iterable[str]) -> list[str]:
    """Return which of these packages can't be imported here.

    :param packages: import names.
    """
    return [package for package in packages if not _installed(package)]


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False
