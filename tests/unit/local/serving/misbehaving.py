"""A script with a model host whose models, one of each family, behave as the word in a request says."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from airflow_automl.local.models import artifacts, host
from airflow_automl.local.models.artifacts import Predictor
from airflow_automl.local.models.wire import Payload
from airflow_automl.local.training.engines.generation.serving import TextGenerator
from airflow_automl.local.training.engines.image.serving import ImagePredictor
from airflow_automl.local.training.engines.text.serving import Classifier
from airflow_automl.local.training.engines.timeseries.calibration import Calibration
from airflow_automl.local.training.engines.timeseries.dataset import RowReader
from airflow_automl.local.training.engines.timeseries.frequency import Calendar
from airflow_automl.local.training.engines.timeseries.related import Related
from airflow_automl.local.training.engines.timeseries.serving import ForecastModel
from airflow_automl.local.training.engines.timeseries.settings import Settings

WORDS = ("good", "hang", "die", "eat")
_held = []


def do(word: str) -> None:
    """Behave as a word says."""
    if word == "hang":
        while True:
            time.sleep(60)
    if word == "die":
        os._exit(9)
    if word == "eat":
        _held.append(bytearray(os.urandom(1 << 20) * 200))
        do("hang")


def payload(family: str, word: str) -> Payload:
    """A request that makes a model of a family behave as a word says."""
    if family == "image":
        from PIL import Image

        file = io.BytesIO()
        Image.new("L", (32, 32), 50 * WORDS.index(word)).save(file, "PNG")
        return Payload(file.getvalue(), "image/png")
    if family == "timeseries":
        rows = "".join(f"a,2024-01-0{day},{WORDS.index(word)}\n" for day in range(1, 7))
        return Payload(f"item,ts,y\n{rows}".encode(), "text/csv")
    if family == "generation":
        return Payload(f'{{"inputs": "{word}"}}'.encode(), "application/json")
    return Payload(word.encode(), "text/csv")


class _Texts:
    def predict(self, texts: Sequence[str]) -> np.ndarray:
        for text in texts:
            do(text)
        return np.full((len(texts), 2), 0.5)


class _Images:
    def predict(self, items: Sequence[np.ndarray]) -> np.ndarray:
        for image in items:
            do(WORDS[round(float(image.mean()) / 50)])
        return np.full((len(items), 2), 0.5)


class _Language:
    def prompt(self, text: str) -> list[int]:
        return list(text.encode())

    def generate(self, prompts: Sequence[Sequence[int]], **_: Any) -> list[list[int]]:
        for prompt in prompts:
            do(self.text(prompt))
        return [list(prompt) for prompt in prompts]

    def text(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode()


class _Forecaster:
    def forecast(self, panel: Any, _: Any) -> np.ndarray:
        for series in panel.series:
            do(WORDS[int(series.target[0])])
        return np.zeros((len(panel), panel.horizon, 4))


def _rows(value: pd.DataFrame) -> dict[str, Any]:
    for text in value.iloc[:, 0]:
        do(text)
    return {"predicted_label": [1.0] * len(value)}


def _table(labels: Sequence[str], stage: Callable[[Any], Any]) -> Predictor:
    features = [{"name": "word", "kind": "text"}]
    problem = "MulticlassClassification" if labels else "Regression"
    return Predictor({"features": features, "problem_type": problem, "labels": list(labels), "target": "y"}, [stage])


def _forecasts() -> ForecastModel:
    names = {"TargetAttributeName": "y", "TimestampAttributeName": "ts", "ItemIdentifierAttributeName": "item"}
    settings = Settings.read({"TimeSeriesConfig": names, "ForecastHorizon": 2, "ForecastFrequency": "1D"})
    columns = {"item": ["a"] * 3, "ts": [f"2024-01-0{day}" for day in (1, 2, 3)], "y": ["0"] * 3}
    calendar = Calendar.over(settings.frequency, np.array(columns["ts"], dtype="datetime64[s]"))
    members: Any = {"npts": _Forecaster()}
    reader = RowReader.learn(pa.table(columns), settings)
    return ForecastModel(settings, calendar, Related((), ()), (), reader, {"npts": 1.0}, members, Calibration(()))


def load(folders: Sequence[Path], environments: Sequence[Mapping[str, str]], threads: int) -> Any:
    """Take the place of :func:`airflow_automl.local.models.artifacts.load_folders`."""
    models: dict[str, Callable[[], Any]] = {
        "table": lambda: _table((), _rows),
        "text": lambda: _table(("a", "b"), Classifier(_Texts(), ("a", "b"))),  # type: ignore[arg-type]
        "image": lambda: ImagePredictor(_Images(), {"problem_type": "", "labels": ["a", "b"]}, ("predicted_label",)),  # type: ignore[arg-type]
        "timeseries": _forecasts,
        "generation": lambda: TextGenerator(_Language(), {}, 100, 1000),  # type: ignore[arg-type]
    }
    return models[environments[0]["FAMILY"]]()


if __name__ == "__main__":
    artifacts.load_folders = load
    sys.exit(host.main(sys.argv[1:]))
