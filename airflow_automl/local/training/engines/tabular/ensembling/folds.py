"""The folds of a bag, made to share what they would each make of the same rows.

AutoGluon gives every fold of a bag the same frame, and each turns it into its library's own form again: for one row,
that takes longer than the trees. Folds that learned the same about the columns get one form of the rows, made once.
What a library computes from it is the same, bit by bit.
"""

from __future__ import annotations

import pickle
from collections import defaultdict
from collections.abc import Callable
from typing import Any

_LEARNED = {
    "LGBModel": ("_requires_remap", "_features_internal_map"),
    "CatBoostModel": ("_category_features", "_category_mapping"),
    "XGBoostModel": ("_ohe", "_ohe_generator", "_cat_col_names", "_category_mapping"),
}
"""What AutoGluon's models learn about the columns, besides their names; others learn more, such as scales."""

_COLUMNS = ("_features_internal", "features", "_model_specific_feature_generators")


class SharedInput:
    """The form of the last rows that folds were given.

    :param preprocess: of one of the folds.
    :param form: makes the library's form of what it returns.
    """

    def __init__(self, preprocess: Callable[..., Any], form: Callable[[Any], Any]) -> None:
        self._preprocess, self._form = preprocess, form
        self._given: Any = None
        self._made: Any = None

    def __call__(self, X: Any, **options: Any) -> Any:  # noqa: N803 - AutoGluon's name
        """Take the place of ``preprocess`` of each fold."""
        if options != {"preprocess_nonadaptive": False}:
            # The part that a bag asks for itself.
            return self._preprocess(X, **options)
        if X is not self._given:
            self._given, self._made = X, self._form(self._preprocess(X, **options))
        return self._made

    def forget(self) -> None:
        """Let the rows go."""
        self._given = self._made = None


def shared_inputs(predictor: Any) -> list[SharedInput]:
    """Let the folds of all bags share their inputs.

    :param predictor: AutoGluon's, with its models in memory.
    :return: what they share.
    """
    shared = []
    for bag in predictor._trainer.models.values():
        alike: defaultdict[bytes, list[Any]] = defaultdict(list)
        for fold in getattr(bag, "models", ()):
            if type(fold).__name__ in _LEARNED:
                alike[_learned(fold)].append(fold)
        for folds in alike.values():
            shared.append(SharedInput(folds[0].preprocess, _form(folds[0])))
            for fold in folds:
                fold.preprocess = shared[-1]
    return shared


def _learned(fold: Any) -> bytes:
    kind = type(fold).__name__
    names = (*_COLUMNS, *_LEARNED[kind])
    more = getattr(fold.model, "pandas_categorical", None)
    return pickle.dumps((kind, [getattr(fold, name, None) for name in names], more))


def _form(fold: Any) -> Callable[[Any], Any]:
    kind, model = type(fold).__name__, fold.model
    if kind == "LGBModel":
        from lightgbm.basic import _data_from_pandas

        return lambda rows: _data_from_pandas(rows, "auto", "auto", model.pandas_categorical)[0]
    if kind == "CatBoostModel":
        from catboost import Pool

        return lambda rows: Pool(rows, cat_features=model.get_cat_feature_indices())
    return lambda rows: rows
