"""Which samples validate, and which of them are explained."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from airflow_automl.local.training.data import split
from airflow_automl.local.training.engines.classification import engine
from airflow_automl.local.training.engines.classification.approach import Labelled, Samples, arrange
from airflow_automl.local.training.engines.text.engine import TextClassification


def arranged(texts, labels):
    return arrange(Labelled(texts, labels, "s3://b/in/"), None, {}, "texts")


def test_distinct_texts_are_divided_as_rows_are():
    texts, labels = [str(number) for number in range(97)], ["abc"[number % 3] for number in range(97)]
    expected = split.holdout(pd.Series(labels), 0.2, classes=True)

    found = arranged(texts, labels)

    assert found.train == [texts[position] for position in expected[0]]
    assert found.validation == [texts[position] for position in expected[1]]
    assert not any("copies" in note for note in found.notes)


def test_equal_texts_are_on_one_side():
    texts = [str(number % 30) for number in range(120)]

    found = arranged(texts, ["ab"[int(text) % 2] for text in texts])

    assert not set(found.train) & set(found.validation)
    assert np.bincount(found.validation_codes).tolist() == [12, 12]
    assert any(note.startswith("90 of 120 texts are copies of others") for note in found.notes)


@pytest.mark.parametrize("seed", range(20))
def test_no_class_is_lost_to_training_if_equal_texts_have_several_labels(seed):
    random = np.random.default_rng(seed)
    texts, labels = random.integers(0, 12, 60).astype(str), random.integers(0, 8, 60).astype(str)

    found = arranged(texts.tolist(), labels.tolist())

    assert not set(found.train) & set(found.validation)
    assert set(found.train_codes) == set(range(8))


def test_copies_validate_if_there_is_nothing_else_to_validate_on():
    found = arranged(["yes", "no"] * 20, ["a", "b"] * 20)

    assert len(found.validation) == 8
    assert found.notes[-1].endswith("with so few different ones, copies validate, too.")


def test_explained_samples_are_of_all_classes_if_time_is_short(monkeypatch):
    asked = []

    class Words(TextClassification):
        def apart(self, item):
            asked.append(item)
            return item, {"word": item}

    class Short(engine.Clock):
        passed = property(lambda self: len(asked) == 8)

    monkeypatch.setattr(engine, "Clock", Short)
    trained = SimpleNamespace(predict=lambda items: np.tile([0.4, 0.6], (len(items), 1)))
    samples = Samples([], np.array([]), ["a"] * 30 + ["b"] * 30, np.repeat([0, 1], 30), ("a", "b"))

    files = engine.explain(Words(), "best", trained, samples, 1.0)

    assert set(asked) == {"a", "b"}
    assert json.loads(files["analysis.json"])["method"].endswith("in 8 of 40 validation samples.")
