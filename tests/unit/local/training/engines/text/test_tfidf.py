"""The TF-IDF candidate by itself."""

import numpy as np
import pytest

from airflow_automl.local.training.engines.classification.approach import Head, Samples
from airflow_automl.local.training.engines.course import Clock
from airflow_automl.local.training.engines.text import tfidf
from airflow_automl.local.training.engines.text.tfidf import Tfidf, TrainedTfidf


@pytest.fixture(scope="module")
def trained():
    texts = ["apple pie", "steel hammer", "pear juice", "rusty saw", "apple cake", "steel nail"] * 4
    codes = np.array([0, 1] * 12)
    return Tfidf().train(Samples(texts[:18], codes[:18], texts[18:], codes[18:], ("food", "tool")), Clock(None), 1)


def test_parts_of_words_distinguish_unknown_words(trained, tmp_path):
    unknown = ["pineapples", "hammering"]
    answers = trained.predict(unknown)
    assert answers.argmax(axis=1).tolist() == [0, 1]
    trained.save(tmp_path)
    assert np.allclose(TrainedTfidf.load(tmp_path).predict(unknown), answers, atol=1e-6)


def test_texts_without_a_word_in_common_are_told_apart_by_parts_of_words(monkeypatch, tmp_path):
    monkeypatch.setattr(tfidf, "_RARE", 40)
    monkeypatch.setattr(tfidf, "_PARTS_MOST", 0)
    random = np.random.default_rng(0)
    codes = np.arange(60) % 2
    texts = ["".join(random.choice(list("ACG" if code else "CGT"), 30)) for code in codes]

    found = Tfidf().train(Samples(texts[:40], codes[:40], texts[40:], codes[40:], ("one", "other")), Clock(None), 1)

    answers = found.predict(texts[40:])
    assert (answers.argmax(axis=1) == codes[40:]).all()
    found.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"parts.json", "parts.npz", "head.npz"}
    assert np.allclose(TrainedTfidf.load(tmp_path).predict(texts[40:]), answers, atol=1e-6)


def test_an_artefact_of_words_alone_is_read(trained, tmp_path):
    words = trained.vectorizers[:1]
    head = Head(trained.head.weights[: len(words[0].vocabulary_)], trained.head.bias)
    older = TrainedTfidf(np.empty(0), {}, (), words, head)
    older.save(tmp_path)
    assert not (tmp_path / "parts.json").exists()
    assert np.allclose(TrainedTfidf.load(tmp_path).predict(["apple nail"]), older.predict(["apple nail"]), atol=1e-6)
