"""What a tabular engine trains on, with every data rule of the API applied."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.training.data import codec as codecs
from airflow_automl.local.training.data import columns, specification, split, target, typed
from airflow_automl.local.training.data import values as arrow_values
from airflow_automl.local.training.data.channels import PARQUET, Channels, read
from airflow_automl.local.training.data.codec import Codec, Kind
from airflow_automl.local.training.data.store import Store
from airflow_automl.local.training.data.values import Notes, Unusable, places

MIN_ROWS = 500
"""AWS trains on no fewer rows (R14)."""


@dataclass(frozen=True)
class TabularDataset:
    """Rows to train on and rows to measure on.

    :param train: features, target and, if there is one, the weight column.
    :param validation: the same columns.
    :param features: the columns to learn from, in the order in which a served model takes them.
    :param target: the target column.
    :param weight: the sample weight column, or ``None``.
    :param problem_type: ``BinaryClassification``, ``MulticlassClassification`` or ``Regression``.
    :param objective: the metric to optimize.
    :param labels: the classes in order (of two, the second is the positive one); empty for regression.
    :param escaped: whether the CSV has quotes escaped by backslashes, as Spark writes them.
    :param notes: sentences on the data that a person should know.
    :param failures: those of them that belong into PartialFailureReasons.
    :param crossed: whether models are cross-validated: then the rows to measure on are the first ones to train on.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    features: tuple[Codec, ...]
    target: str
    weight: str | None
    problem_type: str
    objective: str
    labels: tuple[float | str, ...]
    escaped: bool = False
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    crossed: bool = False

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

    :param store: the store of the objects.
    :param channels: what to read.
    :param request: the request, V2-shaped.
    :param mode: ``ENSEMBLING`` or ``HYPERPARAMETER_TUNING``.
    :param folder: for downloads; emptied again.
    :raises JobFailure: the data breaks a rule; the message names the column or object.
    """
    config = request["AutoMLProblemTypeConfig"]["TabularJobConfig"]
    name, weight = columns.trimmed(str(config["TargetAttributeName"])), config.get("SampleWeightAttributeName") or None
    notes = Notes(channels.notes)
    tables = read(store, channels.given, folder, notes)
    weight = weight and columns.trimmed(weight)
    wanted = {name: "target column"} | ({weight: "sample weight column"} if weight else {})
    columns.require(tables[0].column_names, f"the data at {channels.training.uri}", wanted)
    if weight == name:
        raise JobFailure(f"The column '{name}' can't be both the target and the sample weight.")
    rows = tables[0].num_rows
    if rows < MIN_ROWS:
        raise JobFailure(
            f"The training data at {channels.training.uri} has {rows} rows; at least {MIN_ROWS} are needed."
        )
    given = _specified(store, config, tables[0].column_names, name, weight, mode)
    reader = _Reader(tables, channels.training.content_type == PARQUET, notes)
    values, pointed = reader.target(name, config.get("ProblemType")), typed.pointed(tables[0], name)
    usable = values.notna().to_numpy()
    if not usable.any():
        raise JobFailure(f"The target '{name}' is missing in every row.")
    if not usable.all():
        notes.append(f"{int((~usable).sum())} rows have no value in the target '{name}' and are left out.")
    features, found = [], {}
    for column in given.names:
        try:
            feature, found[column] = reader.feature(column, given.types.get(column, "auto"))
            features.append(feature)
        except Unusable as error:
            notes.tell(arrow_values.left_out(column, error), len(values), len(values))
    if not features:
        raise JobFailure(f"There is no column to learn from: {listing(given.names)} can't be used.")
    found[name] = values
    if weight:
        found[weight] = reader.weights(weight)
    frame = pd.DataFrame(found, copy=False)
    del found, tables
    if not usable.all():
        frame = frame[usable]
    if weight:
        frame = _drop_invalid_weights(frame, weight, notes)
    apart = channels.validation is not None
    if apart and (config.get("ProblemType") or target.infer_problem_type(frame[name])) != target.REGRESSION:
        frame = _drop_unknown_classes(frame, rows, name, notes)
    prepared, problem_type = target.prepare(frame[name], config.get("ProblemType"), pointed)
    frame[name] = prepared
    objective = target.resolve_objective(problem_type, (request.get("AutoMLJobObjective") or {}).get("MetricName"))
    train, validation = _split(frame, rows, request, name, problem_type != target.REGRESSION, apart)
    for rows_of, part in (("training", train), ("validation", validation)):
        if weight and not (part[weight] > 0).any():
            raise JobFailure(f"The sample weight column '{weight}' has no positive number in the {rows_of} data.")
    labels: tuple[float | str, ...] = ()
    if problem_type != target.REGRESSION:
        labels = target.labels_of(train[name])
        if len(labels) < 2:
            raise JobFailure(f"The target '{name}' has only one class in the training data, '{labels[0]}'.")
    return TabularDataset(
        train,
        validation,
        tuple(features),
        name,
        weight,
        problem_type,
        objective,
        labels,
        reader.escaped,
        tuple(notes),
        tuple(notes.failures),
    )


def _specified(
    store: Store, config: Mapping[str, Any], columns: list[str], name: str, weight: str | None, mode: str
) -> specification.FeatureSpecification:
    reserved = {name: "target"} | ({weight: "sample weight column"} if weight else {})
    uri = config.get("FeatureSpecificationS3Uri")
    if uri:
        document = store.read_json(uri, "feature specification")
        given = specification.parse(document, uri, columns, reserved, mode)
    else:
        given = specification.FeatureSpecification(tuple(column for column in columns if column not in reserved))
    if not given.names:
        raise JobFailure(f"The data has no column besides {listing(reserved)}: there is nothing to learn from.")
    return given


class _Reader:
    """Decides how the columns of all channels are read, and reads them.

    :param tables: of the channels.
    :param parquet: whether the training data is Parquet, whose writer chose the types: then numbers in texts are names.
        Dates in texts are dates: pandas writes a column of the type object as texts.
    :param notes: gets what a person should know.
    """

    def __init__(self, tables: Sequence[pa.Table], parquet: bool, notes: Notes) -> None:
        self._tables, self._parquet, self._notes = tables, parquet, notes
        self.escaped = any(map(typed.escaped, tables))

    def _decided(
        self, name: str, role: str = "auto", quiet: bool = False, odd: float = codecs.ODD
    ) -> tuple[Codec, pa.ChunkedArray]:
        values = arrow_values.encoded(codecs.unite([table.column(name) for table in self._tables]))
        codec = codecs.decide(name, values, role, self._notes.append if not quiet else lambda note: None, odd)
        if self._parquet and role == "auto" and arrow_values.is_text(values.type) and not codec.moment:
            codec = dataclasses.replace(codec, spelled=True)
        return codec, values

    def _required(self, name: str, role: str = "auto", quiet: bool = False) -> tuple[Codec, pa.ChunkedArray]:
        try:
            # Each value of a target may be a class.
            return self._decided(name, role, quiet, odd=0)
        except Unusable as error:
            advice = "write it as numbers, texts or timestamps"
            raise JobFailure(f"The column '{name}' can't be used: {error}: {advice}.") from error

    def feature(self, name: str, role: str) -> tuple[Codec, np.ndarray]:
        """How a feature is read, and its values.

        :raises Unusable: it has a type that can't be learned from.
        """
        codec, values = self._decided(name, role)
        reading = codec.read(values)
        if role != "auto" and len(reading.lost) and pd.isna(reading.values).all():
            raise JobFailure(
                f"The feature specification calls the column '{name}' {codec.role}, but none of its values can be read "
                f"that way (for example '{arrow_values.shown(values[int(reading.lost[0])].as_py())}')."
            )
        self._notes.unread(codec.name, codec.kind, values, reading.lost)
        return codec, reading.values

    def target(self, name: str, problem_type: str | None) -> pd.Series:
        """The target's values: numbers, or names of classes."""
        codec, values = self._required(name, quiet=problem_type == target.REGRESSION)
        if problem_type == target.REGRESSION and not codec.numeric:
            if codec.digits is not None:
                raise JobFailure(
                    f"The target '{name}' of a Regression must be numeric; it has codes such as '{values[0].as_py()}', "
                    "which start with a zero or are longer than a number can be exactly."
                )
            codec, _ = self._required(name, "numeric")
            reading = codec.read(values)
            if len(reading.lost):
                few = len(reading.lost) < 0.5 * len(values)
                advice = "Leave these rows out, or clear their target" if few else "Write plain numbers, such as 1234.5"
                raise JobFailure(
                    f"The target '{name}' of a Regression must be numeric; {places(values, reading.lost)}. {advice}."
                )
        elif codec.moment:
            codec = dataclasses.replace(codec, spelled=True)
        reading = codec.read(values)
        found = reading.values
        self._notes.unread(codec.name, codec.kind, values, reading.lost)
        if arrow_values.is_text(values.type) and not codec.numeric:
            if codec.kind is Kind.MOMENT:
                # Each class keeps its name, however its date is written.
                found = Codec(name, Kind.TEXT).read(values).values
                found[pd.isna(reading.values)] = None
            self._notes.extend(target.alike(name, pc.unique(values.cast(pa.string())).to_pylist()))
            self._notes.extend(target.twins(text for text in set(found) if text is not None))
        return pd.Series(found, name=name)

    def weights(self, name: str) -> np.ndarray:
        codec, values = self._required(name, "numeric")
        return codec.read(values).values


def _drop_invalid_weights(frame: pd.DataFrame, weight: str, notes: list[str]) -> pd.DataFrame:
    values = frame[weight].to_numpy(dtype="float64")
    valid = np.isfinite(values) & (values >= 0)
    if not valid.any() or values[valid].sum() == 0:
        raise JobFailure(
            f"The sample weight column '{weight}' has no positive number: weights must be numeric and not negative."
        )
    if not valid.all():
        notes.append(f"{int((~valid).sum())} rows have no valid weight in '{weight}' and are left out.")
    return frame[valid].copy()


def _drop_unknown_classes(frame: pd.DataFrame, rows: int, name: str, notes: Notes) -> pd.DataFrame:
    """Leave out validation rows of classes that no training row has.

    :param rows: of the training channel.
    """
    training = frame.index < rows
    known = training | frame[name].isin(frame.loc[training, name])
    if not training.any() or known.all():
        return frame
    lost = frame.loc[~known, name]
    shown = listing(sorted(map(arrow_values.shown, lost.unique())), 3)
    given = int((~training).sum())
    if len(lost) == given:
        raise JobFailure(f"The training data lacks the classes of '{name}' that the validation data has: {shown}.")
    note = f"{len(lost)} validation rows are left out: the training data lacks their class of '{name}' ({shown})."
    notes.tell(note, len(lost), given)
    return frame[known].copy()


def _split(
    frame: pd.DataFrame, rows: int, request: Mapping[str, Any], name: str, classes: bool, apart: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Divide the rows.

    :param rows: of the training channel.
    :param apart: whether the other rows are those of a validation channel, which overrides DataSplitConfig (R70).
    """
    if apart:
        # Dropped rows keep their numbers.
        marked = frame.index.to_numpy() >= rows
        training, validation = np.flatnonzero(~marked), np.flatnonzero(marked)
        for kind, part in (("training", training), ("validation", validation)):
            if len(part) == 0:
                raise JobFailure(
                    f"No row of the {kind} data is left: each lacks a value in the target '{name}', or a valid weight."
                )
    else:
        training, validation = split.holdout(frame[name], split.fraction_of(request), classes)
    return frame.iloc[training].reset_index(drop=True), frame.iloc[validation].reset_index(drop=True)
