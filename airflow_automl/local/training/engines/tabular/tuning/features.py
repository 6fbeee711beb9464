"""The feature transformer: rows of a table → the matrices that the algorithms learn from.

There are three views of the same rows; the search chooses among those that fit the algorithm:

- ``trees``: numbers unchanged, missing ones too; categories as codes, many of them as frequencies too; texts as topics.
- ``standard``: numbers standardized; categories and words one-hot encoded.
- ``ranks``: as ``standard``, with numbers mapped to a normal distribution by rank.

The target is not used, so the folds of a cross-validation share one transformer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from scipy import sparse

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data.codec import Codec
from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.engines.tabular.tuning import columns
from airflow_automl.local.training.engines.tabular.tuning.columns import Column, strings

_CLIP = 8.0
_REFERENCES = 129

_CHUNK = 100_000
"""Rows that are scaled at a time: the work in between takes several times the memory of the rows."""


@dataclass(frozen=True)
class Scaler:
    """Scales columns of numbers and marks what was missing.

    :param quantiles: ``None``: columns get mean 0 and deviation 1; else the reference points that map each column's
        ranks to a normal distribution, shape (references, columns).
    :param centre: per column: its mean.
    :param spread: per column: its deviation.
    :param fill: per column: what stands for a missing value, before scaling.
    :param marked: positions of the columns that had missing values in training; each gets a 0/1 column.
    """

    quantiles: np.ndarray | None
    centre: np.ndarray
    spread: np.ndarray
    fill: np.ndarray
    marked: np.ndarray

    @classmethod
    def fit(cls, numbers: np.ndarray, ranks: bool) -> Scaler:
        """Learn the scale of some columns.

        :param numbers: shape (rows, columns), NaN where missing; no column without any value.
        :param ranks: whether to map ranks to a normal distribution; else columns are only centred and divided.
        """
        values = numbers.astype("float64")
        marked = np.flatnonzero(np.isnan(values).any(axis=0))
        fill = np.nanmedian(values, axis=0) if values.shape[1] else np.empty(0)
        filled = np.where(np.isnan(values), fill, values)
        centre = filled.mean(axis=0)
        spread = filled.std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        quantiles = np.nanquantile(values, np.linspace(0, 1, _REFERENCES), axis=0) if ranks else None
        return cls(quantiles, centre, spread, fill, marked)

    @property
    def width(self) -> int:
        """Return how many columns :meth:`apply` gives."""
        return len(self.centre) + len(self.marked)

    def apply(self, numbers: np.ndarray) -> np.ndarray:
        """Scaled columns, then the marks of missing values.

        :param numbers: shape (rows, columns), NaN where missing.
        :return: 32-bit floats without NaN.
        """
        found = np.empty((len(numbers), self.width), dtype="float32")
        for begin in range(0, len(numbers), _CHUNK):
            found[begin : begin + _CHUNK] = self._apply(numbers[begin : begin + _CHUNK])
        return found

    def _apply(self, numbers: np.ndarray) -> np.ndarray:
        missing = np.isnan(numbers)
        filled = np.where(missing, self.fill, numbers).astype("float64")
        if self.quantiles is None:
            scaled = (filled - self.centre) / self.spread
        else:
            scaled = self._ranked(filled)
        scaled = np.clip(scaled, -_CLIP, _CLIP)
        return np.hstack([scaled, missing[:, self.marked]])

    def _ranked(self, filled: np.ndarray) -> np.ndarray:
        from scipy.special import ndtri

        assert self.quantiles is not None  # noqa: S101
        levels = np.linspace(0, 1, len(self.quantiles))
        scaled = np.empty_like(filled)
        for position in range(filled.shape[1]):
            reference = self.quantiles[:, position]
            # Both directions, so that a value which makes up many ranks lands in their middle.
            upper = np.interp(filled[:, position], reference, levels)
            lower = 1 - np.interp(-filled[:, position], -reference[::-1], levels)
            scaled[:, position] = (upper + lower) / 2
        return np.asarray(ndtri(np.clip(scaled, 1e-3, 1 - 1e-3)))

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that an artefact keeps."""
        found = {"centre": self.centre, "spread": self.spread, "fill": self.fill, "marked": self.marked}
        return found if self.quantiles is None else found | {"quantiles": self.quantiles}

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Scaler:
        """Return the scaler that :meth:`state` described."""
        return cls(state.get("quantiles"), state["centre"], state["spread"], state["fill"], state["marked"])


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
        """Return how many columns :meth:`weights` gives."""
        return len(self.terms)

    def weights(self, values: pd.Series) -> sparse.csr_matrix:
        """Return the weight of each term in each text, shape (rows, terms)."""
        return sparse.csr_matrix(self._vectorizer.transform(strings(values).fillna("")), dtype="float32")

    def summary(self, weights: sparse.csr_matrix) -> np.ndarray:
        """Return the topics of weighted texts, shape (rows, topics)."""
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


TREES, STANDARD, RANKS = "trees", "standard", "ranks"
VIEWS = (TREES, STANDARD, RANKS)

Matrix: TypeAlias = "np.ndarray | sparse.csr_matrix"
"""A view of some rows: 32-bit floats, dense or sparse."""

FIT_ROWS = 200_000
"""Rows from which scales and vocabularies are learned; more change nothing."""

MAX_CATEGORIES = 1000
"""Most frequent categories of a column; the rarer ones are one category together. Of a column with 1,000, the best
candidate had an RMSE of 1.80 with 200 of them, and 0.98 with all."""

_MANY, _TREE_CATEGORIES = 50, 100
"""From so many categories on, trees also get how frequent a category is, and the rarer ones as one category: splits by
categories overfit rare ones."""

SPARSE_WIDTH = 300
"""From this many columns on, matrices of categories and words are kept sparse."""

DOCUMENT, ARRAYS = "features.json", "arrays.npz"

NOTHING_VARIES = (
    "No feature column varies: each is empty, always the same, or different in every row. "
    "There is nothing to learn from."
)


@dataclass(frozen=True)
class Extract:
    """What the views of some rows are made of.

    :param numbers: 32-bit floats, NaN where missing.
    :param codes: the category of each categorical column: -1 missing, the number of categories for a rare or new one.
    :param texts: the term weights of each text column.
    """

    numbers: np.ndarray
    codes: np.ndarray
    texts: tuple[sparse.csr_matrix, ...]


@dataclass
class FeatureTransformer:
    """What was learned about the columns.

    :param columns: the features that are used, in the order of the data.
    :param kept: positions of the numbers that vary, among all that the columns yield.
    :param categories: of each categorical column, the most frequent first.
    :param words: of each text column that has any.
    :param scalers: by view.
    :param frequencies: of a column of many categories: logarithm of how many rows each has, 0 for all others.
    """

    columns: list[Column]
    kept: np.ndarray
    categories: dict[str, list[str]]
    words: dict[str, Words]
    scalers: dict[str, Scaler]
    frequencies: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def fit(cls, frame: pd.DataFrame, features: Sequence[Codec]) -> FeatureTransformer:
        """Learn from training rows.

        :raises JobFailure: no column varies, so there is nothing to learn from.
        """
        if len(frame) > FIT_ROWS:
            chosen = np.random.default_rng(SEED).choice(len(frame), FIT_ROWS, replace=False)
            frame = frame.iloc[np.sort(chosen)]
        judged = [Column.judge(feature, frame[feature.name]) for feature in features]
        categories = {
            name: known
            for column in judged
            if column.role == columns.CATEGORICAL
            for name in [column.feature.name]
            if (known := _categories(frame[name]))
        }
        words = {
            column.feature.name: found
            for column in judged
            if column.role == columns.TEXT and (found := Words.fit(frame[column.feature.name])) is not None
        }
        numbers = _numbers(judged, frame)
        kept = np.array([position for position in range(numbers.shape[1]) if _varies(numbers[:, position])], dtype=int)
        if not len(kept) and not categories and not words:
            raise JobFailure(NOTHING_VARIES)
        scalers = {view: Scaler.fit(numbers[:, kept], ranks=view == RANKS) for view in (STANDARD, RANKS)}
        frequencies = {
            name: [*np.log1p(np.bincount(codes[codes >= 0], minlength=len(known) + 1)[:-1]).tolist(), 0.0]
            for name, known in categories.items()
            if len(known) > _MANY
            for codes in [_code(frame[name], known)]
        }
        return cls(judged, kept, categories, words, scalers, frequencies)

    def extract(self, frame: pd.DataFrame) -> Extract:
        """Read the columns of some rows, once for all views."""
        codes = [_code(frame[name], known) for name, known in self.categories.items()]
        return Extract(
            numbers=_numbers(self.columns, frame)[:, self.kept],
            codes=np.column_stack(codes) if codes else np.empty((len(frame), 0), dtype="int32"),
            texts=tuple(words.weights(frame[name]) for name, words in self.words.items()),
        )

    def view(self, extract: Extract, view: str) -> Matrix:
        """Return one view of extracted rows.

        :param view: ``trees``, ``standard`` or ``ranks``.
        :return: 32-bit floats; dense, or sparse where most of it would be zeros.
        """
        if view == TREES:
            codes = np.where(extract.codes < 0, np.nan, extract.codes)
            topics = [words.summary(text) for words, text in zip(self.words.values(), extract.texts, strict=True)]
            counts = []
            for index, name in enumerate(self.categories):
                if name in self.frequencies:
                    column = extract.codes[:, index]
                    counts.append(np.where(column < 0, np.nan, np.take(self.frequencies[name], column))[:, None])
                    codes[:, index] = np.minimum(codes[:, index], _TREE_CATEGORIES)
            return np.hstack([extract.numbers, codes, *topics, *counts]).astype("float32")
        parts: list[Any] = [self.scalers[view].apply(extract.numbers), _one_hot(extract.codes, self._widths())]
        parts += extract.texts
        if self.is_sparse:
            return sparse.csr_matrix(sparse.hstack([sparse.csr_matrix(part) for part in parts], format="csr"))
        return np.hstack([part.toarray() if sparse.issparse(part) else part for part in parts]).astype("float32")

    def transform(self, frame: pd.DataFrame, view: str) -> Any:
        """Return one view of some rows; if several are named, with plus signs between them, each by its name."""
        extract, names = self.extract(frame), view.split("+")
        found = {name: self.view(extract, name) for name in names}
        return found if len(names) > 1 else found[view]

    @property
    def is_sparse(self) -> bool:
        """Return whether the views for linear models and networks are sparse."""
        return sum(self._widths()) + sum(words.width for words in self.words.values()) > SPARSE_WIDTH

    @property
    def tree_types(self) -> list[str]:
        """XGBoost's type of each column of the ``trees`` view: quantity or category."""
        topics = sum(len(words.topics) for words in self.words.values())
        return ["q"] * len(self.kept) + ["c"] * len(self.categories) + ["q"] * (topics + len(self.frequencies))

    def _widths(self) -> list[int]:
        return [len(known) + 1 for known in self.categories.values()]

    def save(self, folder: Path, views: Sequence[str] = VIEWS) -> None:
        """Write what was learned as JSON and plain arrays.

        :param views: the views that will be asked for.
        """
        arrays: dict[str, np.ndarray] = {"kept": self.kept}
        for name in views:
            if name in self.scalers:
                arrays |= {f"scaler/{name}/{key}": value for key, value in self.scalers[name].state().items()}
        for index, words in enumerate(self.words.values()):
            arrays |= {f"words/{index}/idf": words.idf, f"words/{index}/topics": words.topics}
        document = {
            "columns": [column.as_json() for column in self.columns],
            "categories": self.categories,
            "frequencies": self.frequencies,
            "terms": {name: words.terms for name, words in self.words.items()},
            "scalers": [name for name in views if name in self.scalers],
        }
        (folder / DOCUMENT).write_text(json.dumps(document))
        np.savez_compressed(folder / ARRAYS, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, folder: Path) -> FeatureTransformer:
        """Return the transformer that :meth:`save` wrote."""
        document = json.loads((folder / DOCUMENT).read_text())
        with np.load(folder / ARRAYS, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        scalers = {
            name: Scaler.restore(
                {key.rpartition("/")[2]: value for key, value in arrays.items() if key.startswith(f"scaler/{name}/")}
            )
            for name in document["scalers"]
        }
        words = {
            name: Words(terms, arrays[f"words/{index}/idf"], arrays[f"words/{index}/topics"])
            for index, (name, terms) in enumerate(document["terms"].items())
        }
        judged = [Column.from_json(entry) for entry in document["columns"]]
        return cls(judged, arrays["kept"], document["categories"], words, scalers, document["frequencies"])


def _numbers(judged: Sequence[Column], frame: pd.DataFrame) -> np.ndarray:
    found = [columns.numbers(column, frame[column.feature.name]) for column in judged]
    return np.hstack([np.empty((len(frame), 0), dtype="float32"), *found])


def _varies(numbers: np.ndarray) -> bool:
    filled = numbers[~np.isnan(numbers)]
    return len(filled) > 0 and (len(filled) < len(numbers) or bool(np.ptp(filled) > 0))


def _categories(values: pd.Series) -> list[str]:
    """Return the categories worth telling apart; none if the column is always the same or different in every row."""
    counts = columns.strings(values).value_counts()
    counts = counts[counts >= (1 if len(counts) <= 20 else 2)]
    # Equal counts in the order of the names: the same data always gives the same codes.
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:MAX_CATEGORIES]
    constant = len(ordered) == 1 and ordered[0][1] == len(values)
    return [] if constant else [str(name) for name, _ in ordered]


def _code(values: pd.Series, known: Sequence[str]) -> np.ndarray:
    codes = {name: code for code, name in enumerate(known)}
    # For one row, what pandas does with a column takes longer than all else.
    found = (
        -1
        if value is None or value != value
        else codes.get(value if isinstance(value, str) else str(value), len(known))
        for value in values.tolist()
    )
    return np.fromiter(found, "int32", len(values))


def _one_hot(codes: np.ndarray, widths: Sequence[int]) -> sparse.csr_matrix:
    rows, places = np.nonzero(codes >= 0)
    begins = np.cumsum([0, *widths])
    ones = np.ones(len(rows), dtype="float32")
    return sparse.csr_matrix((ones, (rows, codes[rows, places] + begins[places])), shape=(len(codes), begins[-1]))
