import dataclasses

import numpy as np
import pandas as pd
import pytest

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data.codec import Codec, Kind
from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.engines import registry
from airflow_automl.local.training.engines.tabular.ensembling import engine, plan


def make(**options):
    defaults = {
        "rows": 1000,
        "features": 10,
        "classes": 2,
        "algorithms": None,
        "max_candidates": None,
        "seconds": None,
        "seconds_per_model": None,
        "threads": 2,
        "memory_limit": None,
    }
    return plan.make(**{**defaults, **options})


def count(made):
    return sum(len(entries) for entries in made.hyperparameters.values())


@pytest.mark.parametrize(
    ("candidates", "base", "ensemble"),
    [(None, 25, True), (1, 1, False), (2, 2, False), (3, 2, True), (4, 3, True), (40, 39, True)],
)
def test_base_models_and_their_ensemble_together_are_max_candidates(candidates, base, ensemble):
    made = make(max_candidates=candidates)
    assert (count(made), made.fit["fit_weighted_ensemble"]) == (base, ensemble)


def test_models_train_in_the_order_of_the_plan():
    ranks = [entry["ag_args"]["priority"] for entries in make().hyperparameters.values() for entry in entries]
    assert len(set(ranks)) == len(ranks)


@pytest.mark.parametrize("classes", [0, 2, 29])
def test_each_algorithm_trains_before_the_portfolio(classes):
    made = make(classes=classes)
    entries = [(entry["ag_args"]["priority"], key) for key, found in made.hyperparameters.items() for entry in found]
    order = [key for _, key in sorted(entries, reverse=True)]
    assert len(order) == 25
    assert set(order[:13]) == set(order)


def test_boosting_learns_the_median_for_the_mean_absolute_error():
    def losses(objective):
        made = make(classes=0, algorithms=["lightgbm", "xgboost"], crossed=True, max_candidates=20, objective=objective)
        return {entry.get("objective") for level in made.levels for entries in level.values() for entry in entries}

    assert losses("MAE") == {"regression_l1", "reg:absoluteerror"}
    assert losses("RMSE") == {None}


@pytest.mark.parametrize(
    ("classes", "rows", "order"),
    [
        (2, 1000, "GBM LR SPARSE CAT XGB RF XT"),
        (29, 1000, "LR SPARSE RF GBM CAT XGB XT"),
        (29, 50_000, "GBM LR SPARSE CAT XGB RF XT"),
    ],
)
def test_linear_models_train_early_and_forests_where_boosting_takes_long(classes, rows, order):
    trees = ["lightgbm", "catboost", "xgboost", "linear-learner", "randomforest", "extra-trees"]
    made = make(classes=classes, rows=rows, algorithms=trees, max_candidates=8)
    ranked = [(entry["ag_args"]["priority"], key) for key, entries in made.hyperparameters.items() for entry in entries]
    assert " ".join(key for _, key in sorted(ranked, reverse=True)) == order


@pytest.mark.parametrize(("classes", "rows", "trained"), [(29, 1000, True), (10, 1000, False), (29, 50_000, False)])
def test_with_many_classes_a_network_comes_first_also_in_short_jobs(monkeypatch, classes, rows, trained):
    monkeypatch.setattr(registry, "_installed", lambda package: True)
    made = make(classes=classes, rows=rows, seconds=30.0)
    entries = made.hyperparameters.get("NN_TORCH", [])
    assert [entry["ag_args"]["priority"] for entry in entries][:1] == [999] * trained
    assert made.hyperparameters["MLP"][0]["ag_args"]["priority"] == (1000 if classes * rows == 29_000 else 999)
    assert "FASTAI" not in made.hyperparameters, "one network is enough"
    assert made.neural == trained


@pytest.mark.parametrize("categories", [0, 1000])
def test_a_target_that_is_a_sum_of_skewed_columns_is_learned_exactly(tmp_path, categories):
    from autogluon.tabular import TabularPredictor

    models = make(classes=0, algorithms=["linear-learner"], max_candidates=4).hyperparameters
    assert list(models) == ["LR", "SPARSE"]
    assert len(models["LR"]) == 2
    random = np.random.default_rng(1)
    rows = pd.DataFrame(random.lognormal(size=(3000, 3)), columns=["price", "tax", "discount"])
    if categories:
        items = rows["price"] * 50 + random.integers(0, categories, len(rows))
        rows["item"] = "N" + items.astype(int).astype(str)
    rows["paid"] = rows["price"] + rows["tax"] - rows["discount"]
    predictor = TabularPredictor("paid", "regression", path=str(tmp_path), verbosity=0)
    predictor.fit(rows[:2000], hyperparameters={"LR": models["LR"]}, num_cpus=1, fit_weighted_ensemble=False)
    errors = predictor.predict(rows[2000:]) - rows["paid"][2000:]
    assert errors.std() < 1e-5 * rows["paid"].std()


def test_only_what_the_request_names_is_trained():
    made = make(algorithms=["xgboost", "linear-learner", "xgboost"], max_candidates=3)
    assert set(made.hyperparameters) == {"XGB", "LR"}
    assert set(make(algorithms=["xgboost", "linear-learner"]).hyperparameters) == {"XGB", "LR", "SPARSE"}


def test_missing_packages_are_reported(monkeypatch):
    monkeypatch.setattr(registry, "_installed", lambda package: package != "torch")
    made = make(algorithms=["nn-torch", "lightgbm"])
    assert dict(made.missing) == {"nn-torch": ["torch"]}
    with pytest.raises(
        JobFailure, match=r"None of the algorithms 'nn-torch' can be trained here: 'torch' not installed"
    ):
        make(algorithms=["nn-torch"])


def test_an_algorithm_is_planned_only_if_everything_that_it_imports_is_there(monkeypatch):
    monkeypatch.setattr(registry, "_installed", lambda package: package != "torch")
    made = make(max_candidates=40)
    assert {"FASTAI", "NN_TORCH"} & set(made.hyperparameters) == set()
    assert dict(made.missing) == {"nn-torch": ["torch"], "fastai": ["torch"]}


@pytest.mark.parametrize(
    ("algorithms", "seconds", "trained"),
    [
        (None, None, True),
        (None, 120.0, True),
        (None, 119.0, False),
        (["nn-torch", "fastai"], 60.0, True),
    ],
)
def test_neural_networks_are_trained_where_there_is_time_or_they_are_named(monkeypatch, algorithms, seconds, trained):
    monkeypatch.setattr(registry, "_installed", lambda package: True)
    made = make(algorithms=algorithms, seconds=seconds, max_candidates=2 if algorithms else 11)
    assert set(made.hyperparameters) & {"NN_TORCH", "FASTAI"} == ({"NN_TORCH", "FASTAI"} if trained else set())


def test_forests_are_capped_on_many_rows():
    assert make(rows=100_000).hyperparameters["RF"][0]["n_estimators"] == 100
    assert "n_estimators" not in make(rows=1000).hyperparameters["RF"][0]


def test_cross_validated_models_are_stacked_where_time_and_rows_allow():
    made = make(crossed=True)
    assert (made.fit["num_bag_folds"], made.fit["num_stack_levels"], made.fit["fit_weighted_ensemble"]) == (5, 1, True)
    # With one ensemble for each level, these are all candidates.
    assert [sum(map(len, level.values())) for level in made.hyperparameters.values()] == [16, 8]
    ten = make(crossed=True, max_candidates=10)
    assert [sum(map(len, level.values())) for level in ten.hyperparameters.values()] == [6, 2]
    assert make(crossed=True, seconds=300.0, rows=45_000, threads=1).fit["num_stack_levels"] == 0
    assert make(crossed=True, seconds=300.0, rows=20_000, threads=2).fit["num_stack_levels"] == 1
    for less in ({"seconds": 119.0}, {"rows": 600}, {"max_candidates": 5}):
        made = make(crossed=True, **less)
        assert (made.fit["num_bag_folds"], made.fit["num_stack_levels"]) == (5, 0)
        assert count(made) == less.get("max_candidates", 26) - 1


def test_limits_of_a_cross_validated_candidate_hold_for_all_of_its_folds():
    made = make(crossed=True, seconds=900.0, seconds_per_model=30)
    bag, fold = made.fit["ag_args_ensemble"], made.fit["ag_args_fit"]
    assert bag["ag.max_time_limit"] == 30
    # Folds learn for their part of half of the time, and the bag has more than that for their predictions.
    assert fold == {"max_time_limit_ratio": pytest.approx(0.5 / bag["ag.max_time_limit_ratio"])}
    assert bag["ag.max_time_limit_ratio"] > 0.5
    # LightGBM needs more time than others for what comes after learning.
    for level in made.levels:
        assert all(entry["ag_args_fit"]["max_time_limit_ratio"] < 0.75 * 0.8 for entry in level["GBM"])
        assert all(entry["ag_args_ensemble"]["ag.max_time_limit_ratio"] == 0.5 for entry in level["GBM"])
        assert not any("ag_args_fit" in entry for key in level for entry in level[key] if key != "GBM")
    assert "ag_args_fit" not in make(seconds=900.0).hyperparameters["GBM"][0]
    # A single model may have all of the time, and its folds need time for their predictions, too.
    alone = make(crossed=True, seconds=900.0, algorithms=["lightgbm"], max_candidates=1)
    assert alone.hyperparameters["GBM"][0]["ag_args_fit"] == made.levels[0]["GBM"][0]["ag_args_fit"]
    assert "ag_args_ensemble" not in alone.hyperparameters["GBM"][0]
    assert "ag.max_time_limit_ratio" not in alone.fit["ag_args_ensemble"]


@pytest.mark.parametrize("classes", [0, 2])
def test_no_configuration_is_trained_twice(classes):
    criterion = {"criterion": "gini" if classes else "squared_error"}
    entries = [
        (key, (criterion if key in {"RF", "XT"} else {}) | {name: entry[name] for name in entry if name != "ag_args"})
        for key, options in make(max_candidates=40, classes=classes).hyperparameters.items()
        for entry in options
    ]
    assert all(entries.count(entry) == 1 for entry in entries)


def test_limits_reach_autogluon():
    made = make(seconds=60.0, seconds_per_model=7, memory_limit=2 << 30, threads=3)
    assert made.fit["time_limit"] == 60
    assert made.fit["ag_args_fit"]["max_time_limit"] == 7
    assert made.fit["memory_limit"] == 2
    assert made.fit["num_cpus"] == 3
    assert made.fit["dynamic_stacking"] is False


def test_no_model_changes_after_it_was_published():
    made = make()
    assert [made.fit[name] for name in ("calibrate", "calibrate_decision_threshold")] == [False, False]


@pytest.mark.parametrize(
    ("objective", "problem", "metric"),
    [
        ("F1", "BinaryClassification", "log_loss"),
        ("BalancedAccuracy", "BinaryClassification", "log_loss"),
        ("BalancedAccuracy", "MulticlassClassification", "balanced_accuracy"),
        ("AUC", "BinaryClassification", "roc_auc"),
        ("MSE", "Regression", "mean_squared_error"),
    ],
)
def test_each_objective_has_a_metric_of_autogluon(objective, problem, metric):
    assert plan.metric_for(objective, problem) == metric


def test_a_job_without_any_limit_gets_an_hour():
    assert engine.completion_criteria({}) == {"MaxCandidates": 10, "MaxAutoMLJobRuntimeInSeconds": 3600}
    assert engine.completion_criteria({"MaxCandidates": 3}) == {"MaxCandidates": 3}


def test_a_time_for_the_job_is_its_only_limit():
    given = {"MaxAutoMLJobRuntimeInSeconds": 300}
    assert engine.completion_criteria(given) == given


def test_the_linear_model_to_compare_with_learns_from_every_class(monkeypatch):
    monkeypatch.setattr(engine, "LINEAR_ROWS", 100)
    rows = pd.DataFrame({"a": np.arange(5000.0), "y": ["b"] * 4998 + ["a", "c"]})
    data = TabularDataset(rows, rows, (Codec("a", Kind.NUMBER),), "y", None, "M", "Accuracy", ("a", "b", "c"))
    assert set(engine._sampled(data).train["y"]) == {"a", "b", "c"}
    regression = dataclasses.replace(data, target="a", labels=(), problem_type="Regression")
    assert len(engine._sampled(regression).train) == 100
