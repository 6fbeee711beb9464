"""Labelled samples, what a classification approach provides, ONNX sessions, and the logistic head."""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.models import weights
from airflow_automl.local.training.data import split
from airflow_automl.local.training.data.target import MAX_CLASSES, MAX_INTEGER_CLASSES, twins
from airflow_automl.local.training.engines.course import Clock, TimeIsUp


@dataclass(frozen=True)
class Labelled:
    """Items with their labels, as a channel has them.

    :param items: texts, or files of pictures.
    :param labels: one for each.
    :param uri: where they come from.
    :param keys: one for each, the same for equal items; by default the items.
    """

    items: Sequence[Any]
    labels: Sequence[str]
    uri: str
    keys: Sequence[Hashable] | None = None


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
    :param bits: that grey pictures with 16 bits use.
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
    bits: int = 16


def arrange(
    training: Labelled, validation: Labelled | None, request: Mapping[str, Any], what: str, notes: Sequence[str] = ()
) -> Samples:
    """Check the labels and set samples aside for validation, each class in its share, equal ones together.

    :param training: the training channel.
    :param validation: the validation channel; without one a part of the training data validates (R68, R70).
    :param what: the samples in plural, for messages: ``texts`` or ``images``.
    :param notes: what was noticed before.
    :raises JobFailure: there is one class only, there are too many, or validation has only others than training.
    """
    counts = Counter(training.labels)
    labels = tuple(sorted(counts))
    if len(labels) < 2:
        shown = f", '{labels[0]}'" if labels else ""
        raise JobFailure(f"The {what} at {training.uri} have only one class{shown}: there is nothing to predict.")
    if len(labels) > MAX_CLASSES or (len(labels) > MAX_INTEGER_CLASSES and len(labels) * 2 > len(training.labels)):
        raise JobFailure(
            f"{len(training.labels)} {what} at {training.uri} have {len(labels)} different labels: too many to be "
            f"classes. At most {MAX_CLASSES} are allowed, and a class needs several {what}."
        )
    notes = [*notes, *_notes(counts, what)]
    code = {label: position for position, label in enumerate(labels)}
    codes = np.array([code[label] for label in training.labels], dtype="int64")
    if validation is not None:
        kept = [place for place, label in enumerate(validation.labels) if label in code]
        if len(kept) < len(validation.labels):
            unknown = listing(sorted(set(validation.labels) - set(labels)), 3)
            lacking = f"of the classes {unknown}, which the training data lack"
            if not kept:
                raise JobFailure(f"All {what} at {validation.uri} are {lacking}.")
            notes.append(f"{len(validation.labels) - len(kept)} validation {what} are left out: they are {lacking}.")
        found = np.array([code[validation.labels[place]] for place in kept], dtype="int64")
        return Samples(training.items, codes, [validation.items[place] for place in kept], found, labels, tuple(notes))
    keys = training.items if training.keys is None else training.keys
    learned, measured = split.holdout_distinct(pd.Series(codes), keys, split.fraction_of(request))
    if copies := len(keys) - len(set(keys)):
        apart = {keys[position] for position in learned}.isdisjoint(keys[position] for position in measured)
        how = "equal ones either train or validate" if apart else "with so few different ones, copies validate, too"
        notes.append(f"{copies} of {len(keys)} {what} are copies of others: {how}.")
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
    notes += twins(counts)
    label, most = counts.most_common(1)[0]
    if most > 0.8 * counts.total():
        notes.append(f"{most / counts.total():.0%} of the {what} have the label '{label}': Accuracy says little here.")
    return notes


FILE = "head.npz"

_ITERATIONS = 300
_HEAD_SHARE = 0.15
"""Share of the time that is reserved for the head after the embedding."""

_MARGIN = 1.5
"""A head is only trained if so many times the longest training so far are left."""


@dataclass(frozen=True)
class Trained(ABC):
    """A trained candidate.

    :param probabilities: of the validation samples: samples by classes, in the order of the labels.
    :param settings: chosen hyperparameters, for the artefact's metadata; JSON-serializable.
    :param notes: sentences about the training for the report.
    """

    probabilities: np.ndarray
    settings: Mapping[str, Any]
    notes: Sequence[str]

    @abstractmethod
    def predict(self, items: Sequence[Any]) -> np.ndarray:
        """Return the probability of each class, for items as they are served: texts, or pictures in memory."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the files that serving needs; they contain no code."""


class Approach(ABC):
    """A way of classifying."""

    name: ClassVar[str]
    """Name of the algorithm, in lower case."""

    weights: ClassVar[tuple[str, ...]] = ()
    """Pinned weights that it needs."""

    def missing(self) -> str | None:
        """Return why it can't be used here and what to install, ``None`` if it can be used."""
        try:
            for name in self.weights:
                weights.locate(name)
        except JobFailure as failure:
            return failure.reason
        return None

    @abstractmethod
    def train(self, samples: Samples, clock: Clock, threads: int) -> Trained:
        """Train and measure a candidate.

        :raises TimeIsUp: the time limit was reached before there was a candidate to measure.
        """


def open_session(model: Path | bytes, threads: int) -> Any:
    """Open an ONNX model with onnxruntime, on the CPU.

    :param model: the file, or its content.
    :param threads: threads that one run may use; idle threads sleep.
    """
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads take the cores from other jobs on this machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class Head:
    """A multinomial logistic regression.

    :param weights: features by classes.
    :param bias: of each class.
    """

    weights: np.ndarray
    bias: np.ndarray

    def probabilities(self, features: Any) -> np.ndarray:
        """Return the probability of each class for rows of features, dense or sparse."""
        scores = np.asarray(features @ self.weights, dtype="float64") + self.bias
        scores -= scores.max(axis=1, keepdims=True)
        powers = np.exp(scores)
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def save(self, folder: Path) -> None:
        """Write the arrays to :data:`FILE`."""
        np.savez(folder / FILE, weights=self.weights.astype("float32"), bias=self.bias.astype("float64"))

    @classmethod
    def load(cls, folder: Path) -> Head:
        """Read what :meth:`save` wrote."""
        with np.load(folder / FILE, allow_pickle=False) as file:
            return cls(file["weights"], file["bias"])


@dataclass(frozen=True)
class Fitted:
    """The chosen head.

    :param head: the best one.
    :param probabilities: of the validation rows, predicted before the head was trained on any of them.
    :param strength: the inverse of its regularization (C).
    """

    head: Head
    probabilities: np.ndarray
    strength: float


def fit(
    features: Any,
    codes: np.ndarray,
    validation: Any,
    validation_codes: np.ndarray,
    classes: int,
    strengths: Sequence[float],
    clock: Clock,
    own: bool = False,
) -> Fitted:
    """Train a head for each strength until the accuracy drops or the time is short, and keep the best one.

    :param features: rows by features, dense or sparse; every class must occur.
    :param codes: class of each row.
    :param validation: rows to measure on.
    :param validation_codes: class of each of these.
    :param strengths: inverse regularizations, from strong to weak.
    :param clock: time limit, checked before each training.
    :param own: whether to train the chosen head, once it is measured, on the validation rows too.
    :raises TimeIsUp: the time limit was reached before the first strength.
    """
    from sklearn.linear_model import LogisticRegression

    clock.check()
    best: tuple[tuple[float, float], Fitted] | None = None
    worse, longest = 0, 0.0
    # Each strength starts from the last one's weights, which are close.
    model = LogisticRegression(max_iter=_ITERATIONS, warm_start=True)
    for strength in strengths:
        if not clock.allows(_MARGIN * longest):
            break
        began = time.monotonic()
        head = _learn(model.set_params(C=strength), features, codes, classes)
        found = head.probabilities(validation)
        reached = score(found, validation_codes)
        if best is None or reached > best[0]:
            best, worse = (reached, Fitted(head, found, strength)), 0
        else:
            worse += 1
        longest = max(longest, time.monotonic() - began)
        if worse == 2:
            break
    if best is None:
        raise TimeIsUp
    fitted = best[1]
    if not own or not clock.allows(_MARGIN * longest):
        return fitted
    everything, all_codes = _stacked(features, validation), np.concatenate([codes, validation_codes])
    final = _learn(LogisticRegression(C=fitted.strength, max_iter=_ITERATIONS), everything, all_codes, classes)
    return Fitted(final, fitted.probabilities, fitted.strength)


def fit_embedded(
    embed: Callable[[Sequence[Any], Clock], tuple[np.ndarray, np.ndarray]],
    samples: Samples,
    strengths: Sequence[float],
    clock: Clock,
    scaled: bool = False,
) -> tuple[Fitted, int]:
    """Embed the samples and train a head; if the time is short, on the samples that were embedded in time.

    :param embed: (items, time limit) → features of a random part of them, as many as there is time for, and the
        positions of these items.
    :param samples: to train and to measure on.
    :param strengths: see :func:`fit`.
    :param scaled: whether to standardize the features; the head's weights then include the scale.
    :return: the head, and the number of training samples that it was trained on.
    :raises TimeIsUp: not all validation samples, or not all classes, were embedded in time.
    """
    embedding = clock.part(1 - _HEAD_SHARE)
    measured, positions = embed(samples.validation, embedding)
    if len(positions) < len(samples.validation):
        raise TimeIsUp
    features, learned = embed(samples.train, embedding)
    codes, classes = samples.train_codes[learned], len(samples.labels)
    if len(np.unique(codes)) < classes:
        raise TimeIsUp
    mean, deviation = np.zeros(features.shape[1]), np.ones(features.shape[1])
    if scaled:
        mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-3
        features, measured = (features - mean) / deviation, (measured - mean) / deviation
    found = fit(features, codes, measured, samples.validation_codes[positions], classes, strengths, clock, samples.own)
    weight = found.head.weights / deviation[:, None]
    head = Head(weight, found.head.bias - mean @ weight)
    return Fitted(head, found.probabilities[np.argsort(positions)], found.strength), len(codes)


def score(probabilities: np.ndarray, codes: np.ndarray) -> tuple[float, float]:
    """Return the accuracy, and the mean log likelihood to decide ties."""
    chosen = np.clip(probabilities[np.arange(len(codes)), codes], 1e-12, 1)
    return float((probabilities.argmax(axis=1) == codes).mean()), float(np.log(chosen).mean())


def _stacked(first: Any, second: Any) -> Any:
    import scipy.sparse

    return scipy.sparse.vstack([first, second]) if scipy.sparse.issparse(first) else np.concatenate([first, second])


def _learn(model: Any, features: Any, codes: np.ndarray, classes: int) -> Head:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, codes)
    weights, bias = model.coef_.T, model.intercept_
    if classes == 2 and weights.shape[1] == 1:
        # Two classes have one score, that of the second against the first.
        weights, bias = np.hstack([np.zeros_like(weights), weights]), np.array([0.0, bias[0]])
    return Head(np.ascontiguousarray(weights, dtype="float32"), np.asarray(bias, dtype="float64"))
