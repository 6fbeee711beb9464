"""Valid requests, drawn at random from the service model and steered to the rules that the model does not state."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any, Literal

from airflow_automl.contract.metrics import OBJECTIVES
from airflow_automl.contract.model import create_shape, shapes
from tests.wire.strings import matching

Api = Literal["V1", "V2"]

PROBLEMS = {
    "TabularJobConfig": "Tabular",
    "TimeSeriesForecastingJobConfig": "TimeSeriesForecasting",
    "TextClassificationJobConfig": "TextClassification",
    "ImageClassificationJobConfig": "ImageClassification",
    "TextGenerationJobConfig": "TextGeneration",
}

# Written down again rather than taken from the package: a mistake there must not be repeated here.
_TABLES = ["text/csv;header=present", "x-application/vnd.amazon+parquet"]
_CONTENT = {"ImageClassification": ["image/png", "image/jpeg", "image/*"]}
_DATA_TYPES = {
    "Tabular": ["S3Prefix", "ManifestFile"],
    "ImageClassification": ["S3Prefix", "ManifestFile", "AugmentedManifestFile"],
}
_ALGORITHMS = {
    "ENSEMBLING": [
        "catboost",
        "extra-trees",
        "fastai",
        "lightgbm",
        "linear-learner",
        "nn-torch",
        "randomforest",
        "xgboost",
    ],
    "HYPERPARAMETER_TUNING": ["linear-learner", "mlp", "xgboost"],
    "TimeSeriesForecasting": ["cnn-qr", "deepar", "prophet", "arima", "npts", "ets"],
}
_TABULAR_TYPES = ["BinaryClassification", "MulticlassClassification", "Regression"]
_FILLINGS = ["zero", "value", "median", "mean", "min", "max"]


def valid_request(
    random: Random, api: Api, name: str, problem: str | None = None, *, fullness: float = 0.5
) -> dict[str, Any]:
    """Draw a request that the API accepts.

    :param random: the random number generator.
    :param name: the job's name, which nobody can draw so that it is never taken.
    :param problem: a member of AutoMLProblemTypeConfig; drawn where none is given.
    :param fullness: how likely an optional field is given; 1 gives every field that can go together with the others.
    """
    member = "TabularJobConfig" if api == "V1" else problem or random.choice(list(PROBLEMS))
    walk = _Walk(random, member, fullness)
    request = walk.structure(create_shape(api))
    request["AutoMLJobName"] = name
    _Steering(walk, api, request).run()
    return request


class _Walk:
    """Whatever the model allows, field by field."""

    def __init__(self, random: Random, problem: str, fullness: float) -> None:
        self.random = random
        self.problem = problem
        self.fullness = fullness

    def maybe(self) -> bool:
        return self.random.random() < self.fullness

    def value(self, shape_name: str) -> Any:
        shape = shapes()[shape_name]
        match shape["type"]:
            case "structure":
                return self.structure(shape_name)
            case "list":
                return [self.value(shape["member"]["shape"]) for _ in range(self.size(shape))]
            case "map":
                return {
                    self.value(shape["key"]["shape"]): self.value(shape["value"]["shape"])
                    for _ in range(self.size(shape))
                }
            case "string":
                return self.string(shape)
            case "integer" | "long":
                return self.random.randint(shape.get("min", 0), shape.get("max", 10**6))
            case "float" | "double":
                return round(self.random.uniform(shape.get("min", 0), shape.get("max", 1)), 6)
            case "boolean":
                return self.random.random() < 0.5
        raise AssertionError(f"no way to draw a {shape['type']}")

    def structure(self, shape_name: str) -> dict[str, Any]:
        shape = shapes()[shape_name]
        members = shape["members"]
        if shape.get("union"):
            return {self.problem: self.value(members[self.problem]["shape"])}
        required = shape.get("required", ())
        return {
            name: self.value(reference["shape"])
            for name, reference in members.items()
            if name in required or self.maybe()
        }

    def size(self, shape: Mapping[str, Any]) -> int:
        low = shape.get("min", 0)
        if self.fullness == 1:
            low = max(low, 1)
        return self.random.randint(low, min(shape.get("max", low + 3), low + 3))

    def string(self, shape: Mapping[str, Any]) -> str:
        if "enum" in shape:
            return str(self.random.choice(shape["enum"]))
        low, high = shape.get("min", 0), shape.get("max")
        if "pattern" in shape:
            return matching(self.random, shape["pattern"], low, high)
        return "".join(self.random.choice("column_ÄZ 09-.") for _ in range(self.random.randint(max(low, 1), 12)))


class _Steering:
    """What a request that is valid by the model still has to satisfy."""

    def __init__(self, walk: _Walk, api: Api, request: dict[str, Any]) -> None:
        self.random = walk.random
        self.maybe = walk.maybe
        self.full = walk.fullness == 1
        self.api = api
        self.request = request
        member = walk.problem
        self.problem = PROBLEMS[member]
        self.tabular = self.problem == "Tabular"
        self.config: dict[str, Any] = (
            request.get("AutoMLJobConfig", {}) if api == "V1" else request["AutoMLProblemTypeConfig"][member]
        )
        self.statement = request if api == "V1" else self.config

    def run(self) -> None:
        self.request["OutputDataConfig"]["S3OutputPath"] = f"s3://bucket/{self.word()}/"
        self.channels()
        self.common()
        self.objective()
        if self.tabular:
            self.mode()
            self.weights()
        elif self.problem == "TimeSeriesForecasting":
            self.time_series()
        elif self.problem == "TextClassification":
            self.config |= {"ContentColumn": "content", "TargetLabelColumn": "label"}
        elif self.problem == "TextGeneration":
            self.text_generation()

    def word(self) -> str:
        return "".join(self.random.choice("abcdefgh01") for _ in range(6))

    def channels(self) -> None:
        channels = self.request["InputDataConfig" if self.api == "V1" else "AutoMLJobInputDataConfig"]
        content_type = self.random.choice(_CONTENT.get(self.problem, _TABLES)) if self.maybe() else None
        target = self.word()
        for channel, kind in zip(channels, ["training", "validation"], strict=False):
            channel["ChannelType"] = kind
            channel.pop("ContentType", None)
            if content_type:
                channel["ContentType"] = content_type
            data_type = self.random.choice(_DATA_TYPES.get(self.problem, ["S3Prefix"]))
            uri = f"s3://bucket/{self.word()}"
            channel["DataSource"] = {"S3DataSource": {"S3DataType": data_type, "S3Uri": uri}}
            gzip_allowed = self.api == "V1" or (self.tabular and data_type == "S3Prefix")
            if not gzip_allowed and channel.get("CompressionType") == "Gzip":
                channel["CompressionType"] = "None"
            if self.api == "V1":
                channel["TargetAttributeName"] = target
        if self.maybe():
            channels.reverse()

    def common(self) -> None:
        request = self.request
        if "Tags" in request:
            request["Tags"] = list({tag["Key"]: tag for tag in request["Tags"]}.values())
        if "ModelDeployConfig" in request:
            request["ModelDeployConfig"] = self.random.choice(
                [
                    {"AutoGenerateEndpointName": False, "EndpointName": self.word()},
                    {"AutoGenerateEndpointName": True},
                    {"EndpointName": self.word()},
                ][: 1 if self.full else 3]
            )
        if self.problem not in ("Tabular", "TimeSeriesForecasting"):
            request.get("AutoMLComputeConfig", {}).pop("EmrServerlessComputeConfig", None)
        if not self.tabular:
            criteria = self.config.get("CompletionCriteria", {})
            if "MaxCandidates" in criteria:
                criteria["MaxCandidates"] = 1
        split = self.config if self.api == "V1" else request
        if "ValidationFraction" in split.get("DataSplitConfig", {}):
            split["DataSplitConfig"]["ValidationFraction"] = self.random.choice([0.001, 0.2, 0.5, 0.999])

    def objective(self) -> None:
        kind = self.random.choice(_TABULAR_TYPES) if self.tabular else self.problem
        self.request.pop("AutoMLJobObjective", None)
        if self.tabular:
            self.statement.pop("ProblemType", None)
        given = self.maybe()
        if given and OBJECTIVES.get(kind):
            self.request["AutoMLJobObjective"] = {"MetricName": self.random.choice(OBJECTIVES[kind])}
        if given and self.tabular:
            self.statement["ProblemType"] = kind

    def mode(self) -> None:
        generation = self.config.get("CandidateGenerationConfig", {})
        modes = ["ENSEMBLING"] if self.full else [None, "AUTO", "ENSEMBLING", "HYPERPARAMETER_TUNING"]
        mode = self.random.choice(modes)
        if mode is None:
            self.config.pop("Mode", None)
        elif self.config or self.api == "V2":
            self.config["Mode"] = mode
        if mode == "AUTO":
            generation.pop("AlgorithmsConfig", None)
        self.algorithms(generation, mode or "ENSEMBLING")

    def algorithms(self, generation: dict[str, Any], list_name: str) -> None:
        for entry in generation.get("AlgorithmsConfig", []):
            names = _ALGORITHMS[list_name]
            entry["AutoMLAlgorithms"] = self.random.sample(names, self.random.randint(int(self.full), len(names)))

    def weights(self) -> None:
        holders = self.request["InputDataConfig"] if self.api == "V1" else [self.config]
        tuned = self.config.get("Mode") == "HYPERPARAMETER_TUNING"
        for holder in holders:
            if holder.pop("SampleWeightAttributeName", None) and not tuned:
                holder["SampleWeightAttributeName"] = "weight"

    def time_series(self) -> None:
        config = self.config
        self.request.pop("DataSplitConfig", None)
        config["ForecastHorizon"] = self.random.randint(1, 500)
        config["TimeSeriesConfig"] |= {
            "TargetAttributeName": "demand",
            "TimestampAttributeName": "day",
            "ItemIdentifierAttributeName": "item",
        }
        if "ForecastQuantiles" in config:
            config["ForecastQuantiles"] = list(dict.fromkeys(config["ForecastQuantiles"]))
        transformations = config.get("Transformations", {})
        if "Aggregation" in transformations:
            transformations["Aggregation"] = {"demand": self.random.choice(["sum", "avg", "first", "min", "max"])}
        if "Filling" in transformations:
            transformations["Filling"] = {column: self.filling(column) for column in ("demand", "price")}
        self.algorithms(config.get("CandidateGenerationConfig", {}), "TimeSeriesForecasting")

    def filling(self, column: str) -> dict[str, str]:
        filling = {"frontfill": "none"} if column == "demand" and self.random.random() < 0.5 else {}
        for method in self.random.sample(["middlefill", "backfill", "futurefill"], self.random.randint(1, 2)):
            filling[method] = self.random.choice(_FILLINGS)
            if filling[method] == "value":
                filling[f"{method}_value"] = str(self.random.randint(0, 9))
        return filling

    def text_generation(self) -> None:
        if "TextGenerationHyperParameters" in self.config:
            drawn = {
                "epochCount": str(self.random.randint(1, 10)),
                "batchSize": str(self.random.randint(1, 64)),
                "learningRate": self.random.choice(["0", "1", "0.00005", "1e-4"]),
                "learningRateWarmupSteps": str(self.random.randint(0, 250)),
            }
            names = self.random.sample(list(drawn), self.random.randint(int(self.full), 4))
            self.config["TextGenerationHyperParameters"] = {name: drawn[name] for name in names}
