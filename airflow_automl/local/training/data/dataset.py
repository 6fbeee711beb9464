"""What a tabular engine trains on, with every data rule of the API applied."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from airflow_automl.local.training.data import columns, specification, split, target, typed, types
from airflow_automl.local.training.data.channels import PARQUET, Channels
from airflow_automl.local.training.data.failures import JobFailure, listing
from airflow_automl.local.training.data.frame import Feature, convert, kinds_for_roles, to_frame
from airflow_automl.local.training.data.store import Store
from airflow_automl.local.training.data.types import Kind

__all__ = ["TabularDataset", "load"]

log = logging.getLogger(__name__)

MIN_ROWS = 500
"""AWS trains on no fewer rows (R14)."""

DEFAULT_VALIDATION_FRACTION = 0.2


@dataclass(frozen=True)
class TabularDataset:
    """Rows to train on and rows to measure on.

    :param train: features, target and, where there is one, the weight column.
    :param validation: the same columns.
    :param features: the columns to learn from, in the order in which a served model takes them.
    :param target: the target column.
    :param weight: the sample weight column, or ``None``.
    :param problem_type: ``BinaryClassification``, ``MulticlassClassification`` or ``Regression``.
    :param objective: the metric to optimize.
    :param labels: the classes in order (of two, the second is the positive one); empty for regression.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    features: tuple[Feature, ...]
    target: str
    weight: str | None
    problem_type: str
    objective: str
    labels: tuple[int | str, ...]

    @property
    def columns(self) -> list[str]:
        """Names of the features."""
        return [feature.name for feature in self.features]

    @property
    def classification(self) -> bool:
        """Whether the target holds classes."""
        return self.problem_type != target.REGRESSION

    def weights(self, rows: pd.DataFrame) -> np.ndarray | None:
        """The sample weights of some rows, if there are any."""
        return None if self.weight is None else rows[self.weight].to_numpy(dtype="float64")


def load(store: Store, channels: Channels, request: Mapping[str, Any], mode: str, folder: Path) -> TabularDataset:
    """Read the channels of a tabular job.

    :param store: where the objects lie.
    :param channels: what to read.
    :param request: the request, V2-shaped.
    :param mode: ``ENSEMBLING`` or ``HYPERPARAMETER_TUNING``.
    :param folder: for downloads; emptied again.
    :raises JobFailure: the data breaks a rule; the message names the column or object.
    """
    config = request["AutoMLProblemTypeConfig"]["TabularJobConfig"]
    name = str(config["TargetAttributeName"])
    weight = config.get("SampleWeightAttributeName") or None
    training, *others = _read(store, channels, folder)
    roles = {"target": name} | ({"sample weight": weight} if weight else {})
    columns.require(training.column_names, channels.training.uri, roles)
    if weight == name:
        raise JobFailure(f"The column '{name}' can't be both the target and the sample weight.")
    rows = training.num_rows
    validation_rows = 0
    if channels.validation is not None:
        validation_rows = others[0].num_rows
        try:
            training = pa.concat_tables([training, *others], promote_options="permissive")
        except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
            raise JobFailure(f"The validation data's types differ from the training data's: {error}.") from error
    if rows < MIN_ROWS:
        raise JobFailure(
            f"The training data at {channels.training.uri} has {rows} rows; at least {MIN_ROWS} are needed."
        )
    parquet = channels.training.content_type == PARQUET
    usable = _has_target(training, name, parquet)
    validating = (np.arange(training.num_rows) >= training.num_rows - validation_rows)[usable]
    # Before it becomes a frame, whose whole numbers turn into inexact ones where one is missing.
    frame, kinds = to_frame(training if usable.all() else training.filter(pa.array(usable)), parquet)
    del training, others
    features = _features(store, config, list(frame.columns), kinds, name, weight, mode)
    for feature in features:
        if feature.role != "auto":
            frame[feature.name] = convert(frame, feature)
    frame = frame[[*[feature.name for feature in features], name, *([weight] if weight else [])]]
    frame["__validation__"] = validating
    if weight:
        frame = _drop_invalid_weights(frame, weight)
    prepared, problem_type = target.prepare(frame[name], config.get("ProblemType"))
    frame[name] = prepared
    objective = target.resolve_objective(problem_type, (request.get("AutoMLJobObjective") or {}).get("MetricName"))
    train, validation = _split(frame, request, name, problem_type != target.REGRESSION)
    for rows_of, part in (("training", train), ("validation", validation)):
        if weight and not (part[weight] > 0).any():
            raise JobFailure(f"The sample weight column '{weight}' has no positive number in the {rows_of} data.")
    labels: tuple[int | str, ...] = ()
    if problem_type != target.REGRESSION:
        labels = target.labels_of(train[name])
        unknown = sorted(set(validation[name]) - set(labels), key=str)
        if unknown:
            raise JobFailure(
                f"The validation data has the class {listing(unknown, 3)} of '{name}', which the training data lacks."
            )
        if len(labels) < 2:
            raise JobFailure(f"The target '{name}' has only one class in the training data, '{labels[0]}'.")
    return TabularDataset(train, validation, features, name, weight, problem_type, objective, labels)


def _read(store: Store, channels: Channels, folder: Path) -> list[pa.Table]:
    """The rows of the training channel, and those of the validation channel if there is one."""
    given = [channel for channel in (channels.training, channels.validation) if channel is not None]
    if channels.training.content_type == PARQUET:
        training = channels.training.read(store, folder / "training")
        header = training.column_names
        return [training, *(channel.read(store, folder / channel.kind, header) for channel in given[1:])]
    try:
        # Types are judged over both, so that a validation value can't contradict the type of its column.
        tables = typed.read([channel.download(store, folder / channel.kind) for channel in given])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for channel, rows in zip(given, tables, strict=True):
        channel.require_rows(rows)
    return tables


def _features(
    store: Store,
    config: Mapping[str, Any],
    columns: list[str],
    kinds: Mapping[str, Kind],
    name: str,
    weight: str | None,
    mode: str,
) -> tuple[Feature, ...]:
    reserved = {name: "target"} | ({weight: "sample weight column"} if weight else {})
    uri = config.get("FeatureSpecificationS3Uri")
    if uri:
        document = store.read_json(uri, "feature specification")
        given = specification.parse(document, uri, columns, reserved, mode)
    else:
        given = specification.FeatureSpecification(tuple(column for column in columns if column not in reserved))
    if not given.names:
        raise JobFailure(f"The data has no column besides {listing(reserved)}: there is nothing to learn from.")
    return kinds_for_roles(given.names, kinds, given.types)


def _has_target(rows: pa.Table, name: str, parquet: bool) -> np.ndarray:
    """Which rows have a value in the target, as the kind of its column reads them."""
    values = rows.column(name)
    read = types.kind_of(values) if parquet else types.infer(values)
    missing = pc.is_null(values if read is None else read[0], nan_is_null=True).to_numpy()
    if missing.all():
        raise JobFailure(f"The target '{name}' is missing in every row.")
    if missing.any():
        log.warning("%d rows have no value in the target '%s' and are left out", int(missing.sum()), name)
    usable: np.ndarray = ~missing
    return usable


def _drop_invalid_weights(frame: pd.DataFrame, weight: str) -> pd.DataFrame:
    """Rows without a usable weight are left out (R66)."""
    values = pd.to_numeric(frame[weight], errors="coerce")
    valid = np.isfinite(values.to_numpy(dtype="float64")) & (values.to_numpy(dtype="float64") >= 0)
    if not valid.any() or values[valid].sum() == 0:
        raise JobFailure(
            f"The sample weight column '{weight}' has no positive number: weights must be numeric and not negative."
        )
    if not valid.all():
        log.warning("%d rows have no valid weight in '%s' and are left out", int((~valid).sum()), weight)
    frame = frame[valid].copy()
    frame[weight] = values[valid].astype("float64")
    return frame


def _split(
    frame: pd.DataFrame, request: Mapping[str, Any], name: str, classes: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    marked = frame.pop("__validation__").to_numpy()
    if marked.any():
        # A channel of its own wins over DataSplitConfig (R70).
        training, validation = np.flatnonzero(~marked), np.flatnonzero(marked)
        if len(training) == 0:
            raise JobFailure(f"No row of the training data has a value in the target '{name}'.")
    else:
        fraction = (request.get("DataSplitConfig") or {}).get("ValidationFraction") or DEFAULT_VALIDATION_FRACTION
        training, validation = split.holdout(frame[name], float(fraction), classes)
    return frame.iloc[training].reset_index(drop=True), frame.iloc[validation].reset_index(drop=True)
