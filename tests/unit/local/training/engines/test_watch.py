"""Limits of AutoGluon's models, and what it imports."""

import importlib
import sys
import time
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest

from airflow_automl.local.errors import cause
from airflow_automl.local.training.engines.course import PER_CANDIDATE
from airflow_automl.local.training.engines.tabular.ensembling import engine, plan


class Forest:
    name, path = "Forest", ""

    def get_params(self):
        return {"hyperparameters": {}}

    def fit(self):
        time.sleep(60)


@pytest.mark.slow  # imports AutoGluon
@pytest.mark.parametrize(
    ("given", "left", "reason"),
    [({}, 0.1, "the time that the job had left"), ({PER_CANDIDATE: 0.1}, 50.0, f"{PER_CANDIDATE} \\(0.1 s\\)")],
)
def test_a_model_that_looks_at_no_clock_takes_neither_the_time_of_the_ensemble_nor_that_of_others(given, left, reason):
    from autogluon.core.utils.exceptions import TimeLimitExceeded

    from airflow_automl.local.training.engines.tabular.ensembling.watch import CandidateWatch

    spec = SimpleNamespace(account="1", region="r", name="job", arn="arn")
    begun = SimpleNamespace(criteria=given, run=SimpleNamespace(spec=spec), begin=lambda *_: SimpleNamespace())
    watch, model, began = CandidateWatch(begun, None), Forest(), time.monotonic()
    watch.answers["an earlier one"] = np.zeros(1)
    watch._before_model_fit(None, model, time_limit=left)
    with pytest.raises(TimeLimitExceeded, match=f"Forest was still training after {reason}"):
        model.fit()
    assert time.monotonic() - began < 20


def test_a_model_without_a_column_that_varies_says_so():
    from airflow_automl.local.training.engines.tabular.ensembling.watch import _why

    error = {"exc_type": "NoValidFeatures", "exc_str": "No valid features exist to fit LightGBM"}
    reason = _why(SimpleNamespace(_models_failed_to_train_errors={"LightGBM": error}), "LightGBM")
    assert cause(reason).startswith("No feature column varies")


def test_a_package_that_nothing_needs_is_not_imported_and_can_be_later():
    with engine._without("wave"), pytest.raises(ImportError):
        importlib.import_module("wave")
    assert importlib.import_module("wave") is sys.modules["wave"]


@pytest.mark.slow  # imports AutoGluon
def test_an_ensemble_that_is_saved_again_is_published_as_it_was_measured(tmp_path, monkeypatch):
    import autogluon.tabular
    from autogluon.core.models import AbstractModel, WeightedEnsembleModel

    from airflow_automl.local.training.engines.tabular.ensembling.watch import Snapshot

    class Trainer:
        path, trainer_file_name, callbacks = str(tmp_path / "predictor/models"), "trainer.pkl", ()
        kinds = {"Forest": AbstractModel, "Ensemble": WeightedEnsembleModel}

        def save(self):
            (tmp_path / "predictor/models/trainer.pkl").write_text("")

        def get_model_attribute(self, model, attribute):
            return self.kinds[model] if attribute == "type" else model

        def get_minimum_model_set(self, model):
            return [*self.kinds]

    for name in Trainer.kinds:
        (tmp_path / "predictor/models" / name).mkdir(parents=True)
        (tmp_path / "predictor/models" / name / "model.pkl").write_text("first")
    snapshot = Snapshot.take(Trainer(), "Ensemble", tmp_path / "copy")
    (tmp_path / "predictor/models/Ensemble/model.pkl").write_text("second")
    monkeypatch.setattr(autogluon.tabular, "TabularPredictor", MagicMock())
    snapshot.strip()
    files = {name: tmp_path / "copy/models" / name / "model.pkl" for name in Trainer.kinds}
    assert files["Ensemble"].read_text() == "first"
    assert files["Forest"].stat().st_nlink == 2


@pytest.mark.parametrize("levels", [False, True])
def test_a_plan_says_whether_it_has_a_neural_network(levels):
    for name, neural in (("NN_TORCH", True), ("GBM", False)):
        models = {"LR": [{}], name: [{}]}
        assert plan.Plan({1: {"LR": [{}]}, 2: models} if levels else models, {}, {}).neural is neural
