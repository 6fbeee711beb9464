"""Values that the API names in its texts rather than in its model: content types, algorithms, ranges and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

CSV = "text/csv;header=present"
PARQUET = "x-application/vnd.amazon+parquet"

#: Member of AutoMLProblemTypeConfig → name of the problem (AutoMLProblemTypeConfigName).
PROBLEM_CONFIGS: Mapping[str, str] = MappingProxyType(
    {
        "TabularJobConfig": "Tabular",
        "TimeSeriesForecastingJobConfig": "TimeSeriesForecasting",
        "TextClassificationJobConfig": "TextClassification",
        "ImageClassificationJobConfig": "ImageClassification",
        "TextGenerationJobConfig": "TextGeneration",
    }
)

TABULAR_PROBLEM_TYPES = ("BinaryClassification", "MulticlassClassification", "Regression")

_TABLES = (CSV, PARQUET)

#: Problem → content types of its channels; the first is that of a channel which names none (R23, R24).
CONTENT_TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Tabular": _TABLES,
        "TimeSeriesForecasting": _TABLES,
        "TextClassification": _TABLES,
        "TextGeneration": _TABLES,
        "ImageClassification": ("image/*", "image/png", "image/jpeg"),
    }
)

#: Problem → S3DataType of its channels (R17; V1 is Tabular, R18).
S3_DATA_TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Tabular": ("S3Prefix", "ManifestFile"),
        "ImageClassification": ("S3Prefix", "ManifestFile", "AugmentedManifestFile"),
        "TextClassification": ("S3Prefix",),
        "TimeSeriesForecasting": ("S3Prefix",),
        "TextGeneration": ("S3Prefix",),
    }
)

ENSEMBLING_ALGORITHMS = (
    "catboost",
    "extra-trees",
    "fastai",
    "lightgbm",
    "linear-learner",
    "nn-torch",
    "randomforest",
    "xgboost",
)
HYPERPARAMETER_TUNING_ALGORITHMS = ("linear-learner", "mlp", "xgboost")

#: Mode → algorithms that AutoMLAlgorithms may name (R55).
MODE_ALGORITHMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"ENSEMBLING": ENSEMBLING_ALGORITHMS, "HYPERPARAMETER_TUNING": HYPERPARAMETER_TUNING_ALGORITHMS}
)

#: R58.
TIME_SERIES_ALGORITHMS = ("cnn-qr", "deepar", "prophet", "arima", "npts", "ets")

#: Filling method → its options (R76, R78).
FILLING_METHODS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "frontfill": ("none",),
        **dict.fromkeys(("middlefill", "backfill", "futurefill"), ("zero", "value", "median", "mean", "min", "max")),
    }
)

DEFAULT_CHANNEL_TYPE = "training"  # R9
DEFAULT_VALIDATION_FRACTION = 0.2  # R68
DEFAULT_QUANTILES = ("p10", "p50", "p90")  # R75
DEFAULT_AGGREGATION = "sum"  # R82
DEFAULT_BASE_MODEL = "Falcon7BInstruct"  # R89

MAX_OUTPUT_PATH = 512  # characters, R27 and C1
MAX_OUTPUT_PATH_V1 = 128  # characters, what the older pages of V1 promise
MAX_FORECAST_HORIZON = 500  # time steps, R74


class Range(NamedTuple):
    """A range of numbers, bounds included."""

    lowest: float
    highest: float
    integer: bool


#: Hyperparameter of text generation → its range (R87, R88). In requests they are strings.
HYPERPARAMETERS: Mapping[str, Range] = MappingProxyType(
    {
        "epochCount": Range(1, 10, integer=True),
        "batchSize": Range(1, 64, integer=True),
        "learningRate": Range(0, 1, integer=False),
        "learningRateWarmupSteps": Range(0, 250, integer=True),
    }
)
