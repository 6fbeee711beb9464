"""Labelled samples to train on and to measure on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.training.data import split
from airflow_automl.local.training.data.dataset import DEFAULT_VALIDATION_FRACTION
from airflow_automl.local.training.data.target import MAX_CLASSES, MAX_INTEGER_CLASSES


@dataclass(frozen=True)
class Labelled:
    """Items with their labels, as a channel has them.

    :param items: texts, or files of pictures.
    :param labels: one for each.
    :param uri: where they come from.
    """

    items: Sequence[Any]
    labels: Sequence[str]
    uri: str


@dataclass(frozen=True)
class Samples:
    """What a job trains and measures on.

    :param train: items to learn from.
    :param train_codes: position of each one's label in ``labels``.
    :param validation: items that candidates are measured on.
    :param validation_codes: the same for these.
    :param labels: the classes in order.
    :param notes: sentences on the data that a person should know.
    :param failures: those of them that belong into PartialFailureReasons.
    :param own: whether the validation items were taken out of the training data, and not given apart. Then the chosen
        candidate may learn from them too, once it was measured.
    :param escaped: whether their CSV has quotes escaped by backslashes.
    """

    train: Sequence[Any]
    train_codes: np.ndarray
    validation: Sequence[Any]
    validation_codes: np.ndarray
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    own: bool = False
    escaped: bool = False


def arrange(
    training: Labelled, validation: Labelled | None, request: Mapping[str, Any], what: str, notes: Sequence[str] = ()
) -> Samples:
    """Check the labels and set samples aside for validation, each class in its share.

    :param training: the training channel.
    :param validation: the validation channel; without one a part of the training data validates (R68, R70).
    :param request: the request, V2-shaped.
    :param what: the samples in plural, for messages: ``texts`` or ``images``.
    :param notes: what was noticed before.
    :raises JobFailure: there is one class only, there are too many, or validation has one that training lacks.
    """
    counts = Counter(training.labels)
    labels = tuple(sorted(counts))
    if len(labels) < 2:
        shown = f", '{labels[0]}'" if labels else ""
        raise JobFailure(f"The {what} at {training.uri} have only one class{shown}: there is nothing to tell apart.")
    if len(labels) > MAX_CLASSES or (len(labels) > MAX_INTEGER_CLASSES and len(labels) * 2 > len(training.labels)):
        raise JobFailure(
            f"{len(training.labels)} {what} at {training.uri} have {len(labels)} different labels: too many to be "
            f"classes. At most {MAX_CLASSES} are allowed, and a class needs several {what}."
        )
    notes = [*notes, *_notes(counts, what)]
    code = {label: position for position, label in enumerate(labels)}
    codes = np.array([code[label] for label in training.labels], dtype="int64")
    if validation is not None:
        unknown = sorted(set(validation.labels) - set(labels))
        if unknown:
            raise JobFailure(
                f"The validation data at {validation.uri} have the class {listing(unknown, 3)}, "
                "which the training data lack."
            )
        found = np.array([code[label] for label in validation.labels], dtype="int64")
        return Samples(training.items, codes, validation.items, found, labels, tuple(notes))
    fraction = (request.get("DataSplitConfig") or {}).get("ValidationFraction") or DEFAULT_VALIDATION_FRACTION
    learned, measured = split.holdout(pd.Series(codes), float(fraction), classes=True)
    return Samples(
        [training.items[position] for position in learned],
        codes[learned],
        [training.items[position] for position in measured],
        codes[measured],
        labels,
        tuple(notes),
        own=True,
    )


def _notes(counts: Counter[str], what: str) -> list[str]:
    notes = []
    rare = sorted(label for label, count in counts.items() if count < 10)
    if rare:
        notes.append(f"Fewer than 10 {what} have the label {listing(rare, 5)}: hardly enough to learn from.")
    alike = Counter(label.strip().casefold() for label in counts)
    twins = sorted(label for label in counts if alike[label.strip().casefold()] > 1)
    if twins:
        notes.append(f"The labels {listing(twins, 6)} differ by case or blanks only, and count as different classes.")
    label, most = counts.most_common(1)[0]
    if most > 0.8 * counts.total():
        notes.append(f"{most / counts.total():.0%} of the {what} have the label '{label}': Accuracy says little here.")
    return notes
