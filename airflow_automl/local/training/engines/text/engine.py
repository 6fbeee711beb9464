"""Trains TextClassification jobs with TF-IDF and with sentence embeddings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data import channels as channelled
from airflow_automl.local.training.data import columns, target, typed
from airflow_automl.local.training.data.channels import Channel
from airflow_automl.local.training.data.codec import Codec, Kind
from airflow_automl.local.training.data.store import Store
from airflow_automl.local.training.data.values import Notes, Refused, Unusable
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.classification.approach import Labelled, Samples, arrange
from airflow_automl.local.training.engines.classification.engine import Problem
from airflow_automl.local.training.engines.classification.engine import train as train_candidates
from airflow_automl.local.training.engines.text.minilm import MiniLm
from airflow_automl.local.training.engines.text.tfidf import Tfidf, spans

_PARTS = 40
_SHOWN = 400


class TextClassification(Problem):
    """Classifies the texts of one column."""

    name = "TextClassification"
    engine = "text"
    approaches = (Tfidf(), MiniLm())
    method = "How much the probability of the predicted class changes when one of the first 40 words is removed, in"

    def apart(self, item: str) -> tuple[str, Mapping[str, str]]:
        """Return the text up to its 41st word, and this without each of its words; nothing else is changed."""
        found = spans(item, _PARTS + 1)
        whole = item[: found.pop()[1]] if len(found) > _PARTS else item
        parts: dict[str, str] = {}
        # From the end, so that the places before it stay right.
        for word, start, end in reversed(found):
            text = parts.get(word, whole)
            parts[word] = text[:start] + text[end:]
        return whole, parts if len(found) > 1 else {}

    def shown(self, item: str) -> dict[str, str]:
        return {"text": item if len(item) <= _SHOWN else item[: _SHOWN - 1] + "…"}


def train(run: Run) -> str:
    """Train TextClassificationJobConfig jobs; see :data:`airflow_automl.local.training.engines.base.Engine`."""
    run.events.phase("AnalyzingData")
    samples = load(run.store, run.spec.request, run.folder / "download")
    run.events.data_failures(samples.failures)
    content, label = _names(run.spec.config)
    metadata = {"features": [Codec(content, Kind.TEXT).as_json()], "target": label, "escaped": samples.escaped}
    return train_candidates(run, TextClassification(metadata), samples)


def _names(config: Mapping[str, Any]) -> tuple[str, str]:
    return columns.trimmed(str(config["ContentColumn"])), columns.trimmed(str(config["TargetLabelColumn"]))


def load(store: Store, request: Mapping[str, Any], folder: Path) -> Samples:
    """Read the channels of a job.

    Rows without a label or without a text are left out.

    :raises JobFailure: the data break a rule; the message names the column or object.
    """
    content, label = _names(request["AutoMLProblemTypeConfig"]["TextClassificationJobConfig"])
    found = channelled.resolve(store, request["AutoMLJobInputDataConfig"])
    notes = Notes(found.notes)
    tables = channelled.read(store, found.given, folder, notes, strings=True)
    wanted = {content: "content column", label: "label column"}
    columns.require(tables[0].column_names, f"the data at {found.training.uri}", wanted)
    if content == label:
        raise JobFailure(f"The column '{content}' can't be both the content and the label (R72).")
    labelled = [
        _labelled(table, channel, content, label, notes) for table, channel in zip(tables, found.given, strict=True)
    ]
    samples = arrange(labelled[0], labelled[1] if found.validation else None, request, "texts", notes)
    return dataclasses.replace(samples, escaped=any(map(typed.escaped, tables)), failures=tuple(notes.failures))


def _labelled(table: pa.Table, channel: Channel, content: str, label: str, notes: Notes) -> Labelled:
    texts, labels = (_strings(table.column(name), name) for name in (content, label))
    empty, unlabelled = texts.isna(), labels.isna()
    if pa.types.is_string(table.column(label).type):
        notes.extend(target.alike(label, pc.unique(table.column(label)).to_pylist()))
    for mask, name in ((empty, content), (unlabelled, label)):
        if mask.all():
            raise JobFailure(f"The column '{name}' is empty in every row of the {channel.kind} data at {channel.uri}.")
    for mask, what in ((empty, f"no text in '{content}'"), (unlabelled & ~empty, f"no label in '{label}'")):
        if mask.any():
            lost = int(mask.sum())
            notes.tell(f"{lost} of {len(mask)} {channel.kind} rows have {what} and were left out.", lost, len(mask))
    kept = ~(empty | unlabelled)
    if not kept.any():
        raise JobFailure(f"No row of the {channel.kind} data at {channel.uri} has both a text and a label.")
    return Labelled(texts[kept].tolist(), labels[kept].tolist(), channel.uri)


def _strings(values: pa.ChunkedArray, name: str) -> pd.Series:
    try:
        return pd.Series(Codec(name, Kind.TEXT).read(values).values)
    except (Refused, Unusable) as error:
        raise JobFailure(f"The column '{name}' has the Parquet type {values.type}, not text: {error}.") from error
