"""TF-IDF features of words and word pairs in any script, with a logistic regression."""

from __future__ import annotations

import itertools
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import regex

from airflow_automl.local.training.engines.classification.approach import Approach, Head, Samples, Trained, fit
from airflow_automl.local.training.engines.course import Clock

MAX_CHARACTERS = 50_000
"""What is read of a text."""

# Scripts without spaces between words give one token for each character; pairs of tokens then stand for words.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー々"
_TOKEN = regex.compile(
    rf"[{_UNSPACED}]\p{{M}}*"
    rf"|[[\p{{L}}\p{{N}}]--[{_UNSPACED}]][[\p{{L}}\p{{N}}\p{{M}}_]--[{_UNSPACED}]]*"
    r"|\p{Extended_Pictographic}",
    regex.V1,
)


def words(text: str) -> list[str]:
    """Return the words of a text, without case, in their order.

    :param text: of any length; at most the first 50,000 characters are read.
    """
    plain = unicodedata.normalize("NFKC", text[:MAX_CHARACTERS]).casefold()
    found: list[str] = _TOKEN.findall(plain)
    return found


_MAX_FEATURES = 100_000
_MAX_WEIGHTS = 20_000_000
"""Features times classes: what bounds the artefact's size."""

_RARE = 2_000
"""From so many texts on, a word must occur in two of them."""

_STRENGTHS = (1.0, 10.0, 100.0)


def _vectorizer(**options: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(analyzer=_terms, sublinear_tf=True, dtype=np.float32, **options)


def _terms(text: str) -> list[str]:
    found = words(text)
    return [*found, *(f"{first} {second}" for first, second in itertools.pairwise(found))]


@dataclass(frozen=True)
class TrainedTfidf(Trained):
    """A trained candidate.

    :param vectorizer: scikit-learn's, fitted.
    :param head: on its features.
    """

    vectorizer: Any
    head: Head

    def predict(self, items: Sequence[str]) -> np.ndarray:
        """Return the probability of each class for texts."""
        return self.head.probabilities(self.vectorizer.transform(items))

    def save(self, folder: Path) -> None:
        """Write vocabulary, weights of the words and head."""
        vocabulary = {term: int(position) for term, position in self.vectorizer.vocabulary_.items()}
        (folder / "vocabulary.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
        np.savez(folder / "idf.npz", idf=self.vectorizer.idf_.astype("float32"))
        self.head.save(folder)

    @classmethod
    def load(cls, folder: Path) -> TrainedTfidf:
        """Read what :meth:`save` wrote."""
        vocabulary = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        vectorizer = _vectorizer(vocabulary=vocabulary)
        with np.load(folder / "idf.npz", allow_pickle=False) as file:
            vectorizer.idf_ = file["idf"]
        return cls(np.empty(0), {}, (), vectorizer, Head.load(folder))


class Tfidf(Approach):
    """TF-IDF features and a logistic regression; needs nothing beyond the package's extra."""

    name = "tfidf"

    def train(self, samples: Samples, clock: Clock, threads: int) -> TrainedTfidf:
        """Learn the vocabulary and train the head."""
        classes = len(samples.labels)
        vectorizer = _vectorizer(
            min_df=2 if len(samples.train) >= _RARE else 1,
            max_features=min(_MAX_FEATURES, max(_MAX_WEIGHTS // classes, 1000)),
        )
        try:
            features = vectorizer.fit_transform(samples.train)
        except ValueError as error:
            raise ValueError("the texts have no words") from error
        measured = vectorizer.transform(samples.validation)
        codes = samples.train_codes, samples.validation_codes
        fitted = fit(features, codes[0], measured, codes[1], classes, _STRENGTHS, clock, samples.own)
        settings = {"terms": features.shape[1], "strength": fitted.strength}
        return TrainedTfidf(fitted.probabilities, settings, (), vectorizer, fitted.head)
