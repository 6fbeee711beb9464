"""Prompts and answers: the two columns that Autopilot takes, and their split."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.training.data import split
from airflow_automl.local.training.data.channels import Channel, Channels, read
from airflow_automl.local.training.data.store import Store

log = logging.getLogger(__name__)

COLUMNS = ("input", "output")
"""The columns of the data, and no others: the prompt, and the answer that is expected."""

RECOMMENDED_ROWS = 1000
"""What AWS recommends at least."""


class Example(NamedTuple):
    """A prompt and the answer that is expected."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class Examples:
    """The data of a job.

    :param train: what is learned from.
    :param validation: what the model is measured on.
    """

    train: tuple[Example, ...]
    validation: tuple[Example, ...]


def load(store: Store, channels: Channels, request: Mapping[str, Any], folder: Path) -> Examples:
    """Read the channels and split them.

    :raises JobFailure: the data has other columns, or too few rows that have both a prompt and an answer.
    """
    train = _examples(store, channels.training, folder / "training")
    if len(train) < RECOMMENDED_ROWS:
        log.warning("%d rows: AWS recommends %d or more for a good model", len(train), RECOMMENDED_ROWS)
    if channels.validation is not None:
        # A validation channel overrides DataSplitConfig (R70).
        return Examples(train, _examples(store, channels.validation, folder / "validation"))
    if len(train) < 2:
        raise JobFailure(
            f"The training data at {channels.training.uri} has one row: at least one to learn from and one to measure "
            "on are needed."
        )
    learning, measuring = split.holdout(pd.Series(range(len(train))), split.fraction_of(request), classes=False)
    return Examples(tuple(train[row] for row in learning), tuple(train[row] for row in measuring))


def _examples(store: Store, channel: Channel, folder: Path) -> tuple[Example, ...]:
    [table] = read(store, [channel], folder, [], strings=True)
    names = table.column_names
    if sorted(names) != sorted(COLUMNS):
        raise JobFailure(
            f"The {channel.kind} data at {channel.uri} has the columns {listing(names)}; text generation takes exactly "
            "'input' (the prompt) and 'output' (the expected answer)."
        )
    prompts, answers = (_texts(table, name, channel) for name in COLUMNS)
    found = tuple(
        Example(prompt, answer)
        for prompt, answer in zip(prompts, answers, strict=True)
        if prompt and prompt.strip() and answer and answer.strip()
    )
    left_out = table.num_rows - len(found)
    if not found:
        raise JobFailure(f"No row of the {channel.kind} data at {channel.uri} has both an 'input' and an 'output'.")
    if left_out:
        log.warning("%d rows of the %s data lack an input or an output and are left out", left_out, channel.kind)
    return found


def _texts(table: pa.Table, name: str, channel: Channel) -> list[str | None]:
    column = table.column(name)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        raise JobFailure(
            f"The column '{name}' of the {channel.kind} data at {channel.uri} has the Parquet type {column.type}; it "
            "must be text."
        )
    texts: list[str | None] = column.cast(pa.string()).to_pylist()
    return texts
