"""The target column: what problem it poses, and its labels (R39, R40, R45, R47)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pandas as pd

from airflow_automl.contract.metrics import DEFAULT_OBJECTIVE, OBJECTIVES
from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.training.data.codec import EXACT, spelled
from airflow_automl.local.training.data.columns import trimmed
from airflow_automl.local.training.data.values import shown

BINARY = "BinaryClassification"
MULTICLASS = "MulticlassClassification"
REGRESSION = "Regression"

MAX_INTEGER_CLASSES = 20
"""More distinct whole numbers than this are a quantity, not classes, unless the request says otherwise."""

MAX_CLASSES = 2000
"""AWS's limit of classes."""


def infer_problem_type(target: pd.Series) -> str:
    """Infer the problem type from the target's values.

    Two distinct values are binary, whatever they are. Text is multiclass. Numbers with a fraction are regression.
    Whole numbers are classes as long as there are at most 20 of them, each common enough to learn (on average 10
    rows); otherwise they are a quantity.

    :param target: the target's values, missing ones dropped.
    """
    distinct = target.nunique()
    if distinct == 2:
        return BINARY
    if not pd.api.types.is_numeric_dtype(target.dtype):
        return MULTICLASS
    whole = bool((target == target.round()).all())
    if whole and distinct <= MAX_INTEGER_CLASSES and distinct * 10 <= len(target):
        return MULTICLASS
    return REGRESSION


def prepare(target: pd.Series, problem_type: str | None, pointed: bool = False) -> tuple[pd.Series, str]:
    """Check a target against its problem and give it its final type.

    :param target: the target's values, missing ones dropped.
    :param problem_type: what the request says; ``None`` to infer it.
    :param pointed: classes that are whole numbers are written as ``1.0``, and stay so.
    :return: floats for regression; labels (whole numbers or strings) for classification; and the problem type.
    :raises JobFailure: one class only, or values that don't fit the problem type.
    """
    name = target.name
    distinct = target.nunique()
    if distinct < 2:
        raise JobFailure(
            f"The target '{name}' has only one class, '{shown(target.iloc[0])}': there is nothing to predict."
            if problem_type != REGRESSION
            else f"The target '{name}' is always {shown(target.iloc[0])}: there is nothing to predict."
        )
    problem = problem_type or infer_problem_type(target)
    if problem == REGRESSION:
        return target.astype("float64"), problem
    if problem == BINARY and distinct != 2:
        raise JobFailure(
            f"The target '{name}' of a BinaryClassification must have two classes; it has {distinct}: "
            f"{listing(sorted(map(str, target.unique()))[:6], 5)}."
        )
    numeric = pd.api.types.is_numeric_dtype(target.dtype)
    if distinct > MAX_CLASSES or (distinct > MAX_INTEGER_CLASSES and distinct * 2 > len(target)):
        words = target.iloc[:0] if numeric else target[pd.to_numeric(target, errors="coerce").isna()]
        hint = ""
        if 0 < len(words) < 0.5 * len(target):
            hint = (
                f" Most of them are numbers, but {len(words)} are not, such as {listing(words.unique(), 3)} (first in "
                f"row {int(words.index[0]) + 1}): leave these rows out, or clear their target, to predict a number."
            )
        raise JobFailure(
            f"The target '{name}' has {distinct} distinct values in {len(target)} rows: too many to be classes.{hint}"
        )
    if not numeric:
        return target, problem
    if bool(((target == target.round()) & (target.abs() < EXACT)).all()):
        return target if pointed else target.astype("int64"), problem
    return target.map(repr if pointed else spelled), problem


def alike(name: str, texts: Iterable[str | None]) -> list[str]:
    """Say which labels differ from others by blanks around them only; these count as the same.

    :param name: the column.
    :param texts: its distinct values, as they are written.
    """
    known = {text for text in texts if text is not None}
    same = sorted(text for text in known if text != trimmed(text) and trimmed(text) in known)
    if not same:
        return []
    return [f"The labels {listing(same, 5)} of '{name}' count as the ones without blanks around them."]


def twins(labels: Iterable[str]) -> list[str]:
    """Say which labels differ from others by case or blanks only, and count as classes of their own."""
    known = set(labels)
    count = Counter(trimmed(label).casefold() for label in known)
    same = sorted(label for label in known if count[trimmed(label).casefold()] > 1)
    if not same:
        return []
    return [f"The labels {listing(same, 6)} differ by case or blanks only, and count as different classes."]


def labels_of(target: pd.Series) -> tuple[float | str, ...]:
    """The classes in order; of two, the second is the positive one."""
    return tuple(sorted(target.unique().tolist()))


def resolve_objective(problem_type: str, objective: str | None) -> str:
    """The metric to optimize: what the request says, if it fits the problem (R40), else the default (R45).

    :raises JobFailure: the metric is not one for this problem type.
    """
    if objective is None:
        return DEFAULT_OBJECTIVE[problem_type]
    if objective not in OBJECTIVES[problem_type]:
        raise JobFailure(
            f"The objective {objective} does not fit the problem type {problem_type}; "
            f"valid are {listing(OBJECTIVES[problem_type])}."
        )
    return objective
