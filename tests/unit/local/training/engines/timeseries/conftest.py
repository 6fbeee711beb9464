"""Series for tests, made without a service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from airflow_automl.local.training.engines.timeseries.dataset import RowReader, assemble
from airflow_automl.local.training.engines.timeseries.panel import Panel, grid
from airflow_automl.local.training.engines.timeseries.related import Related
from airflow_automl.local.training.engines.timeseries.settings import Settings


def config(horizon: int = 3, frequency: str = "1D", **more: Any) -> dict[str, Any]:
    """A TimeSeriesForecastingJobConfig over the columns item, ts and y."""
    series = {"TargetAttributeName": "y", "TimestampAttributeName": "ts", "ItemIdentifierAttributeName": "item"}
    series |= more.pop("TimeSeriesConfig", {})
    return {"TimeSeriesConfig": series, "ForecastHorizon": horizon, "ForecastFrequency": frequency, **more}


def weekly(items: int = 3, days: int = 60, noise: float = 1.0) -> pd.DataFrame:
    """Daily series with a weekly pattern."""
    random = np.random.default_rng(1)
    days_ = pd.date_range("2024-01-01", periods=days, freq="D")
    parts = []
    for number in range(items):
        level = 20.0 * (number + 1)
        y = level + 5 * np.sin(2 * np.pi * days_.dayofweek / 7) + noise * random.normal(size=days)
        parts.append(pd.DataFrame({"item": f"item {number}", "ts": days_.strftime("%Y-%m-%d"), "y": y.round(3)}))
    return pd.concat(parts, ignore_index=True)


def panel_of(frame: pd.DataFrame, settings: dict[str, Any], features: Sequence[Any] = ()) -> Panel:
    """Put rows on the grid as a job does."""
    read = Settings.read(settings)
    table = pa.Table.from_pandas(frame.astype(str), preserve_index=False)
    related = pd.DataFrame({f.name: frame[f.name] for f in features}, index=range(len(frame)))
    rows, calendar = assemble(table, read, RowReader.learn(table, read), related, None, lambda text: None)
    series = grid(rows, read)
    learned = Related.learn(rows, series, features, read)
    return learned.panel(rows, series, read, calendar)
