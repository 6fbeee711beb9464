"""What the tuner trains, as models of AutoGluon: one-hot encoded, they learn from rare categories and words, too."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from autogluon.common.features import types
from autogluon.core.models import AbstractModel
from autogluon.core.utils.exceptions import TimeLimitExceeded

from airflow_automl.local.training.data.codec import Codec, Kind
from airflow_automl.local.training.data.target import BINARY, MULTICLASS, REGRESSION
from airflow_automl.local.training.engines.course import Clock, TimeIsUp
from airflow_automl.local.training.engines.tabular.ensembling import plan
from airflow_automl.local.training.engines.tabular.tuning.columns import CATEGORICAL, NUMERIC, TEXT
from airflow_automl.local.training.engines.tabular.tuning.features import FeatureTransformer
from airflow_automl.local.training.engines.tabular.tuning.search import LINEAR, MLP, SearchSpace
from airflow_automl.local.training.engines.tabular.tuning.table import Measuring, Part, Table
from airflow_automl.local.training.engines.tabular.tuning.trial import Workbench

_PROBLEMS = {"binary": (BINARY, "LogLoss"), "multiclass": (MULTICLASS, "LogLoss"), "regression": (REGRESSION, "RMSE")}
"""AutoGluon's problem type → the API's, and the metric by which a training keeps its best state."""


class TunerModel(AbstractModel):
    """The candidate that the search begins with for an algorithm.

    Unlike AutoGluon's own models, it takes texts as they are, and not as counts of the words that many rows have.
    """

    algorithm: ClassVar[str]
    transformer: FeatureTransformer | None = None
    ag_priority = 0
    _default_auxiliary_params_extra: ClassVar[dict[str, Any]] = {
        "valid_raw_types": [types.R_BOOL, types.R_INT, types.R_FLOAT, types.R_CATEGORY, types.R_OBJECT],
        "ignored_type_group_special": [types.S_TEXT_NGRAM, types.S_TEXT_SPECIAL, types.S_TEXT_AS_CATEGORY],
    }

    def _fit(
        self,
        X: pd.DataFrame,  # noqa: N803 - AutoGluon's names
        y: pd.Series,
        X_val: pd.DataFrame,  # noqa: N803
        y_val: pd.Series,
        time_limit: float | None = None,
        num_cpus: int = 1,
        sample_weight: Any = None,
        **kwargs: Any,
    ) -> None:
        clock, classes = Clock(time_limit), self.num_classes or 0
        problem_type, objective = _PROBLEMS[self.problem_type]
        first = SearchSpace((self.algorithm,), classes, len(X), objective).first(self.algorithm)
        learned, measured = self.preprocess(X, y=y, is_train=True), self.preprocess(X_val)
        # The target is not used: all folds learn the same, and make their form of a row together.
        every = pd.concat([learned, measured]).sort_index()
        transformer = FeatureTransformer.fit(every, [_codec(name, column) for name, column in learned.items()])
        weights = None if sample_weight is None else np.asarray(sample_weight)
        train = Table(transformer, learned, y.to_numpy(), weights)
        measuring = Measuring.holdout(train, Table(transformer, measured, y_val.to_numpy()), classes, sampled=False)
        bench = Workbench(measuring, problem_type, objective, classes, num_cpus, sample=Part(train, np.arange(1)))
        try:
            self.model = bench.run(first, clock, lambda *_: False).model
        except TimeIsUp as error:
            raise TimeLimitExceeded from error
        self.transformer = transformer

    def _preprocess(self, X: pd.DataFrame, **kwargs: Any) -> Any:  # noqa: N803
        return X if self.transformer is None else self.transformer.transform(X, self.model.view)

    def _predict_proba(self, X: pd.DataFrame, **kwargs: Any) -> np.ndarray:  # noqa: N803
        return np.asarray(self._convert_proba_to_unified_form(self.model.scores(self.preprocess(X, **kwargs))))


class Network(TunerModel):
    """A small network, which needs no torch."""

    ag_key, ag_name = plan.MLP, "MLP"
    algorithm = MLP


class SparseLinear(TunerModel):
    """Ridge or logistic regression."""

    ag_key, ag_name = plan.SPARSE, "SparseLinear"
    algorithm = LINEAR


def _codec(name: str, column: pd.Series) -> Codec:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return Codec(name, Kind.TEXT, CATEGORICAL)
    return Codec(name, Kind.TEXT, TEXT) if column.dtype.hasobject else Codec(name, Kind.NUMBER, NUMERIC)
