"""How the rows of a table are divided into those to learn from and those to measure on."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data.codec import Codec, Kind
from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.engines.tabular import modes

REQUEST = {"AutoMLJobInputDataConfig": [{}]}


def dataset(rows, labels=()):
    frame = pd.DataFrame({"x": np.arange(rows, dtype="float64"), "y": np.arange(rows) % 2})
    frame.loc[:2, "y"] = 2
    if len(labels) < 3:
        frame["y"] %= 2
    cut = rows // 5
    problem, objective = ("MulticlassClassification", "Accuracy") if labels else ("Regression", "MSE")
    features = (Codec("x", Kind.NUMBER),)
    parts = frame.iloc[cut:].reset_index(drop=True), frame.iloc[:cut].reset_index(drop=True)
    return TabularDataset(*parts, features, "y", None, problem, objective, labels)


@pytest.mark.parametrize("rows", [100, 50_000])
def test_rows_are_cross_validated_if_there_is_time(rows):
    crossed = modes.arrange(REQUEST, dataset(rows), 5, crossed=True)
    assert (len(crossed.train), len(crossed.validation), crossed.crossed) == (rows, rows, True)


def test_in_a_cross_validation_a_class_of_few_rows_is_learned_but_not_measured():
    given = dataset(100, (0, 1, 2))
    crossed = modes.arrange(REQUEST, given, 5, crossed=True)
    assert (len(crossed.train), len(crossed.validation), crossed.crossed) == (100, 97, True)
    pd.testing.assert_frame_equal(crossed.train[:97], crossed.validation)
    assert set(crossed.validation["y"]) == {0, 1}
    assert set(crossed.train["y"][97:]) == {2}
    assert sorted(crossed.train["x"]) == list(range(100))
    assert "3 rows of classes with fewer than 5 rows each" in crossed.notes[-1]


@pytest.mark.parametrize(("classes", "labels"), [([0] * 497 + [1] * 3, (0, 1)), ([*range(30)] * 2 + [30, 31] * 30, ())])
def test_without_two_classes_of_many_rows_or_with_many_rare_rows_a_holdout_measures(classes, labels):
    frame = pd.DataFrame({"x": np.arange(len(classes), dtype="float64"), "y": classes})
    parts = frame[::2].reset_index(drop=True), frame[1::2].reset_index(drop=True)
    labels = labels or tuple(range(32))
    problem = "BinaryClassification" if len(labels) == 2 else "MulticlassClassification"
    given = TabularDataset(*parts, (Codec("x", Kind.NUMBER),), "y", None, problem, "Accuracy", labels)
    assert modes.arrange(REQUEST, given, 5, crossed=True) is given


@pytest.mark.parametrize(
    ("problem", "objective", "labels", "value", "defined"),
    [
        ("BinaryClassification", "F1", ("no", "yes"), "no", False),
        ("BinaryClassification", "F1", ("no", "yes"), "yes", True),
        ("BinaryClassification", "AUC", ("no", "yes"), "yes", False),
        ("BinaryClassification", "Accuracy", ("no", "yes"), "no", True),
        ("Regression", "R2", (), 3.0, False),
        ("Regression", "RMSE", (), 3.0, True),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_an_objective_that_no_validation_row_can_measure_is_refused(
    problem, objective, labels, value, defined, weighted
):
    other = labels[value == labels[0]] if labels else 5.0
    frame = pd.DataFrame({"x": np.arange(40.0), "w": 1.0, "y": [value] * 39 + [other]})
    validation = frame[20:39]
    if weighted:
        validation = pd.concat([validation, frame[39:].assign(w=0.0)])
    features = (Codec("x", Kind.NUMBER),)
    given = TabularDataset(frame, validation, features, "y", "w" if weighted else None, problem, objective, labels)
    if defined:
        assert modes.arrange(REQUEST, given, 5, crossed=False) is given
        return
    with pytest.raises(JobFailure, match=f"{objective} is undefined on the {len(validation)} validation rows: all"):
        modes.arrange(REQUEST, given, 5, crossed=False)


def test_validation_rows_without_any_weight_are_refused():
    given = dataclasses.replace(dataset(100), weight="w")
    given.train["w"], given.validation["w"] = 1.0, 0.0
    with pytest.raises(JobFailure, match="MSE is undefined on the 20 validation rows: none has a weight above zero"):
        modes.arrange(REQUEST, given, 5, crossed=False)


def test_few_rows_stay_divided_without_a_cross_validation():
    given = dataset(100)
    assert modes.arrange(REQUEST, given, 5, crossed=False) is given


def test_of_many_rows_no_more_are_kept_from_learning_than_choose_well():
    given = dataset(50_000, (0, 1, 2))
    divided = modes.arrange(REQUEST, given, 5, crossed=False)
    assert (len(divided.train), len(divided.validation)) == (46_000, 4000)
    assert set(divided.validation["y"]) == {0, 1, 2}, "every class is still measured"
    values = pd.concat([divided.train["x"], divided.validation["x"]]).sort_values()
    assert values.tolist() == list(range(50_000)), "no row is lost, and none is in both parts"


@pytest.mark.parametrize(
    "request_",
    [
        REQUEST | {"DataSplitConfig": {"ValidationFraction": 0.3}},
        {"AutoMLJobInputDataConfig": [{}, {"ChannelType": "validation"}]},
    ],
)
def test_validation_rows_that_the_request_sets_apart_stay_apart(request_):
    for given in (dataset(100), dataset(50_000)):
        assert modes.arrange(request_, given, 5, crossed=True) is given


@pytest.mark.parametrize(
    ("rows", "features", "classes", "seconds", "threads"),
    [
        (9000, 30, 0, 60, 1),
        (9000, 30, 2, 60, 1),
        (9000, 60, 2, 60, 2),
        (9000, 6, 10, 60, 1),
        (27_000, 5, 2, 60, 1),
        (18_000, 900, 0, None, 1),
    ],
)
def test_the_time_for_a_cross_validation_depends_on_values_classes_and_threads(
    rows, features, classes, seconds, threads
):
    assert modes.may_cross(rows, features, classes, seconds, threads)
    assert not modes.may_cross(rows + 1, features, classes, seconds, threads)
