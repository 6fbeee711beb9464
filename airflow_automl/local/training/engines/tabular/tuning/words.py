"""Texts → weighted word counts, and a few numbers made of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.engines.tabular.tuning.columns import strings

MAX_TERMS = 3000
"""Words and pairs of words that are kept of a column."""

TOPICS = 24
"""Numbers that summarize a text for decision trees, which do not learn well from thousands of rare words."""


@dataclass
class Words:
    """The vocabulary of one text column.

    :param terms: words and pairs of words.
    :param idf: inverse document frequency of each term.
    :param topics: directions in which the texts differ most, shape (topics, terms).
    """

    terms: list[str]
    idf: np.ndarray
    topics: np.ndarray

    def __post_init__(self) -> None:
        self._vectorizer: Any = _vectorizer(vocabulary={term: index for index, term in enumerate(self.terms)})
        self._vectorizer.idf_ = self.idf

    @classmethod
    def fit(cls, values: pd.Series) -> Words | None:
        """Learn the vocabulary of a column; ``None`` if there is no word in at least two of its rows."""
        texts = strings(values).fillna("")
        vectorizer = _vectorizer(max_features=MAX_TERMS, min_df=2)
        try:
            weighted = vectorizer.fit_transform(texts)
        except ValueError:
            return None
        terms = [str(term) for term in vectorizer.get_feature_names_out()]
        return cls(terms, np.asarray(vectorizer.idf_), _topics(weighted))

    @property
    def width(self) -> int:
        """How many columns :meth:`weights` gives."""
        return len(self.terms)

    def weights(self, values: pd.Series) -> sparse.csr_matrix:
        """The weight of each term in each text, shape (rows, terms)."""
        return sparse.csr_matrix(self._vectorizer.transform(strings(values).fillna("")), dtype="float32")

    def summary(self, weights: sparse.csr_matrix) -> np.ndarray:
        """The topics of weighted texts, shape (rows, topics)."""
        return np.asarray(weights @ self.topics.T, dtype="float32")


def _vectorizer(**options: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, strip_accents="unicode", dtype=np.float32, **options)


def _topics(weighted: Any) -> np.ndarray:
    from sklearn.decomposition import TruncatedSVD

    count = min(TOPICS, weighted.shape[1] - 1, weighted.shape[0] - 1)
    if count < 1:
        return np.ones((1, weighted.shape[1]), dtype="float32")
    reducer = TruncatedSVD(n_components=count, random_state=SEED)
    reducer.fit(weighted)
    return np.asarray(reducer.components_, dtype="float32")
