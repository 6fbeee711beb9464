"""The folds of a bag, made to share what they would each make of the same rows.

AutoGluon gives every fold of a bag the same frame, and each turns it into its library's own form again: for one row,
that takes longer than the trees. Folds that learned the same about the columns get one form of the rows, made once, and
from the categories' codes where that makes the same form. What a library computes from it is the same, bit by bit.
"""

from __future__ import annotations

import pickle
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

_LEARNED = {
    "LGBModel": ("_requires_remap", "_features_internal_map"),
    "CatBoostModel": ("_category_features", "_category_mapping"),
    "XGBoostModel": ("_ohe", "_ohe_generator", "_cat_col_names", "_category_mapping"),
    "Network": ("transformer",),
    "SparseLinear": ("transformer",),
}
"""What AutoGluon's models learn about the columns, besides their names; others learn more, such as scales."""

_OF_A_BAG = {"preprocess_nonadaptive": False}
"""How a bag asks its folds to preprocess what it has preprocessed as far as they don't differ."""

_COLUMNS = ("_features_internal", "features", "_model_specific_feature_generators")


class SharedInput:
    """The form of the last rows that folds were given.

    :param preprocess: of one of the folds.
    :param form: makes the library's form of the rows of a bag.
    """

    def __init__(self, preprocess: Callable[..., Any], form: Callable[[pd.DataFrame], Any]) -> None:
        self._preprocess, self._form = preprocess, form
        self._given: Any = None
        self._made: Any = None

    def __call__(self, X: Any, **options: Any) -> Any:  # noqa: N803 - AutoGluon's name
        """Take the place of ``preprocess`` of each fold."""
        if options != _OF_A_BAG:
            # The part that a bag asks for itself.
            return self._preprocess(X, **options)
        if X is not self._given:
            self._given, self._made = X, self._form(X)
        return self._made

    def forget(self) -> None:
        """Let the rows go."""
        self._given = self._made = None


def shared_inputs(predictor: Any, examples: pd.DataFrame) -> list[SharedInput]:
    """Let the folds of all bags share their inputs.

    :param predictor: AutoGluon's, with its models in memory.
    :param examples: features with all values that columns know.
    :return: what they share.
    """
    shared = []
    for bag in predictor._trainer.models.values():
        alike: defaultdict[bytes, list[Any]] = defaultdict(list)
        for fold in getattr(bag, "models", ()):
            if type(fold).__name__ in _LEARNED:
                alike[_learned(fold)].append(fold)
        for folds in alike.values():
            shared.append(SharedInput(folds[0].preprocess, _form(folds[0], examples)))
            for fold in folds:
                fold.preprocess = shared[-1]
    return shared


def _learned(fold: Any) -> bytes:
    kind = type(fold).__name__
    learned = {name: getattr(fold, name, None) for name in (*_COLUMNS, *_LEARNED[kind])}
    if encoder := getattr(getattr(learned.get("_ohe_generator"), "ohe_encs", None), "_label_encoder", None):
        # All that differs in what was learned is how long that took.
        encoder.fit_time = None
    return pickle.dumps((kind, learned, getattr(fold.model, "pandas_categorical", None)))


def _form(fold: Any, examples: pd.DataFrame) -> Callable[[pd.DataFrame], Any]:
    """What makes the library's form of rows; shorter ways than AutoGluon's are tried on the examples."""
    model, preprocess, names = fold.model, fold.preprocess, list(fold._features_internal)
    # Those that a bag passes on: most models do not take texts as they are.
    examples = examples[examples.columns.intersection(fold.features)]
    # A bag of a higher level gets more than features.
    usual = set(names) <= set(examples)

    def preprocessed(rows: pd.DataFrame) -> Any:
        return preprocess(rows, **_OF_A_BAG)

    if type(fold).__name__ == "LGBModel":
        from lightgbm.basic import _data_from_pandas

        def array(rows: pd.DataFrame) -> Any:
            return np.column_stack([_numbers(rows[name]) for name in names])

        def arranged(rows: pd.DataFrame) -> Any:
            return _data_from_pandas(preprocessed(rows), "auto", "auto", model.pandas_categorical)[0]

        return array if usual and np.array_equal(array(examples), arranged(examples), equal_nan=True) else arranged
    if type(fold).__name__ == "CatBoostModel":
        from catboost import Pool

        def coded(rows: pd.DataFrame) -> pd.DataFrame:
            return pd.DataFrame({name: _coded(rows[name]) for name in names}, index=rows.index, copy=False)

        categories = model.get_cat_feature_indices()
        same = usual and coded(examples).astype("float64").equals(preprocessed(examples).astype("float64"))
        make = coded if same else preprocessed
        return lambda rows: Pool(make(rows), cat_features=categories)
    return preprocessed


def _numbers(column: pd.Series) -> Any:
    """A column with the codes of its categories, as LightGBM has it."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return column.to_numpy()
    return np.where(column.array.codes < 0, np.nan, column.array.codes)


def _coded(column: pd.Series) -> Any:
    """A column with a category more, which stands for a missing value, as CatBoost has it."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return column.array
    codes, count = column.array.codes, len(column.dtype.categories)
    return pd.Categorical.from_codes(np.where(codes < 0, count, codes), categories=range(count + 1))
