"""Weighted counts of words and pairs of words (TF-IDF), and a logistic regression on them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from airflow_automl.local.training.engines.classification import head
from airflow_automl.local.training.engines.classification.head import Head
from airflow_automl.local.training.engines.classification.samples import Samples
from airflow_automl.local.training.engines.course import Clock
from airflow_automl.local.training.engines.text.words import words

NAME = "tfidf"

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
class TrainedTfidf:
    """See :class:`airflow_automl.local.training.engines.classification.approach.Trained`."""

    vectorizer: Any
    head: Head
    probabilities: np.ndarray
    settings: Mapping[str, Any]
    notes: Sequence[str] = ()

    def predict(self, items: Sequence[str]) -> np.ndarray:
        """The probability of each class for some texts."""
        return self.head.probabilities(self.vectorizer.transform(items))

    def save(self, folder: Path) -> None:
        """Vocabulary, weights of the words, head."""
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
        return cls(vectorizer, Head.load(folder), np.empty(0), {})


class Tfidf:
    """See :class:`airflow_automl.local.training.engines.classification.approach.Approach`."""

    name = NAME

    def missing(self) -> str | None:
        """Return ``None``: it needs nothing beyond this package's extra."""
        return None

    def train(self, samples: Samples, clock: Clock, threads: int) -> TrainedTfidf:
        """Count words, train the head."""
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
        fitted = head.fit(features, codes[0], measured, codes[1], classes, _STRENGTHS, clock, samples.own)
        settings = {"terms": features.shape[1], "strength": fitted.strength}
        return TrainedTfidf(vectorizer, fitted.head, fitted.probabilities, settings)
