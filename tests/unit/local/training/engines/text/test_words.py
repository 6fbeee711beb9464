"""Words of any script, and models that are the same after they were stored."""

import numpy as np
import pytest

from airflow_automl.local.training.engines.classification import approach
from airflow_automl.local.training.engines.classification.approach import Head, Samples
from airflow_automl.local.training.engines.course import Clock, TimeIsUp
from airflow_automl.local.training.engines.text.engine import TextClassification
from airflow_automl.local.training.engines.text.tfidf import Tfidf, TrainedTfidf, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't PANIC, it's 3.5%!", ["don", "t", "panic", "it", "s", "3", "5"]),
        ("Straße ﬁne", ["strasse", "fine"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("Привет мир", ["привет", "мир"]),
        ("السلام عليكم", ["السلام", "عليكم"]),
        ("我爱北京", ["我", "爱", "北", "京"]),
        ("東京タワー2号", ["東", "京", "タ", "ワ", "ー", "2", "号"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("한국어 좋아요", ["한국어", "좋아요"]),
        ("great 🙂🙂", ["great", "🙂", "🙂"]),
        ("snake_case", ["snake_case"]),
        ("", []),
    ],
)
def test_words_of_many_scripts(text, expected):
    assert words(text) == expected


def test_a_stored_tfidf_model_answers_as_before(tmp_path):
    texts = [f"{word} {number}" for number, word in enumerate(["苹果 好吃", "red hammer", "घर बड़ा"] * 5)]
    codes = np.array([0, 1, 2] * 5)
    samples = Samples(texts, codes, texts[:6], codes[:6], ("a", "b", "c"))

    trained = Tfidf().train(samples, Clock(None), 1)
    trained.save(tmp_path)
    loaded = TrainedTfidf.load(tmp_path)

    asked = [*texts, "", "none occurs in training"]
    assert np.allclose(loaded.predict(asked), trained.predict(asked), atol=1e-6)
    assert (trained.predict(texts).argmax(axis=1) == codes).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_the_head_is_the_logistic_regression(classes, tmp_path):
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    codes = np.arange(90) % classes
    features = random.normal(size=(90, 5)) + 2 * codes[:, None]

    fitted = approach.fit(features, codes, features[:30], codes[:30], classes, [1.0], Clock(None))
    fitted.head.save(tmp_path)

    reference = LogisticRegression(C=1.0, max_iter=300).fit(features, codes).predict_proba(features)
    assert np.allclose(fitted.head.probabilities(features), reference, atol=1e-4)
    assert np.allclose(Head.load(tmp_path).probabilities(features), reference, atol=1e-4)


def test_a_head_without_time_is_none():
    with pytest.raises(TimeIsUp):
        approach.fit(np.eye(4), np.array([0, 1, 0, 1]), np.eye(4), np.array([0, 1, 0, 1]), 2, [1.0], Clock(0))


def test_a_head_that_was_measured_learns_from_the_validation_rows_too():
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    codes = np.arange(60) % 2
    features = random.normal(size=(60, 3)) + codes[:, None]
    parts = features[:40], codes[:40], features[40:], codes[40:]

    apart = approach.fit(*parts, 2, [1.0], Clock(None))
    final = approach.fit(*parts, 2, [1.0], Clock(None), own=True)

    assert np.array_equal(final.probabilities, apart.probabilities)
    reference = LogisticRegression(C=1.0, max_iter=300).fit(features, codes).predict_proba(features)
    assert np.allclose(final.head.probabilities(features), reference, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("我爱北京。", {"我": "爱北京。", "爱": "我北京。", "北": "我爱京。", "京": "我爱北。"}),
        ("No, NO way!", {"no": ",  way!", "way": "No, NO !"}),
        ("alone!", {}),
        ("", {}),
    ],
)
def test_a_text_without_one_of_its_words_is_otherwise_the_same(text, parts):
    assert TextClassification().apart(text) == (text, parts)


def test_only_the_first_words_of_a_long_text_are_explained():
    whole, parts = TextClassification().apart("".join(f"w{number}, " for number in range(60)))
    assert whole.endswith("w38, w39, ")
    assert len(parts) == 40
    assert parts["w39"].endswith("w38, , ")


@pytest.mark.parametrize(("seconds", "trained"), [(None, 4), (100, 4), (45, 3), (34, 2), (24, 1)])
def test_no_head_is_trained_that_could_overrun_the_time(monkeypatch, seconds, trained):
    now, learn, learned = [0.0], approach._learn, []

    def slow(*given):
        now[0] += 10
        learned.append(given)
        return learn(*given)

    monkeypatch.setattr(approach, "_learn", slow)
    monkeypatch.setattr(approach.time, "monotonic", lambda: now[0])
    codes = np.arange(40) % 2
    features = np.random.default_rng(0).normal(size=(40, 3)) + codes[:, None]

    fitted = approach.fit(features, codes, features, codes, 2, [0.1, 1.0, 10.0], Clock(seconds), own=True)

    assert len(learned) == trained
    assert fitted.head.weights.shape == (3, 2)
