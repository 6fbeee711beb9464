"""What the tuner trains, as members of an ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from airflow_automl.local.training.data.codec import Codec, Kind
from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.engines.tabular.ensembling.engine import fit
from airflow_automl.local.training.engines.tabular.ensembling.features import prepare
from airflow_automl.local.training.engines.tabular.ensembling.model import AutoGluonStage, answers
from airflow_automl.local.training.engines.tabular.ensembling.plan import Plan

CODECS = (Codec("text", Kind.TEXT), Codec("kind", Kind.TEXT), Codec("x", Kind.NUMBER))
OPTIONS = {
    "num_bag_folds": 3,
    "num_bag_sets": 1,
    "num_stack_levels": 1,
    "dynamic_stacking": False,
    "ag_args_ensemble": {"fold_fitting_strategy": "sequential_local"},
}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Texts whose many words add up to the target."""
    random = np.random.default_rng(0)
    drawn, worth = random.integers(0, 300, (600, 6)), random.normal(size=300)
    texts = [" ".join(f"word{number}" for number in line) for line in drawn]
    frame = pd.DataFrame({"text": texts, "kind": random.choice(["a", "b", "c"], 600), "x": random.normal(size=600)})
    frame.loc[::50, "text"] = None
    frame["sum"] = worth[drawn].sum(axis=1) + frame["x"]
    frame["level"] = pd.cut(
        frame["sum"] + 3 * frame["x"], [-np.inf, -2, 2, np.inf], labels=["low", "middle", "high"]
    ).astype(str)
    frame["weight"] = random.uniform(0.5, 2, 600)
    return frame


def trained(rows: pd.DataFrame, folder: Path, models: dict[Any, Any], **about: Any) -> Any:
    given = {"target": "sum", "weight": None, "problem_type": "Regression", "objective": "RMSE", "labels": (), **about}
    dataset = TabularDataset(rows, rows, CODECS, crossed=True, **given)
    return fit(dataset, Plan({1: models, 2: models}, OPTIONS, {}), str(folder / "predictor"))


def test_they_learn_from_words_that_few_rows_have_and_are_served_as_they_were_measured(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    trees = {"GBM": {"num_boost_round": 20}, "CAT": {"iterations": 20}, "XGB": {"n_estimators": 20}}
    predictor = trained(rows, tmp_path, {**trees, "MLP": {}, "SPARSE": {}})
    errors = {
        name: np.sqrt(np.mean((predictor._trainer.get_model_oof(name) - rows["sum"].to_numpy()) ** 2))
        for name in predictor.model_names()
    }
    assert len(errors) == 12, "five of each level, and two ensembles"
    own = max(errors["MLP_BAG_L1"], errors["SparseLinear_BAG_L1"])
    assert own < 0.6 * min(errors[f"{name}_BAG_L1"] for name in ("LightGBM", "CatBoost", "XGBoost"))

    asked = rows[:20].assign(kind=[*rows["kind"][:19], "new"], text=[*rows["text"][:19], "never heard of"])
    for name in errors:
        about = {"model": name, "features": [codec.as_json() for codec in CODECS], "labels": [], "threshold": 0.5}
        stage = AutoGluonStage(tmp_path / "predictor", about)
        found = stage(asked)["predicted_label"]
        assert stage._features._known, "without AutoGluon's pipeline"
        assert np.array_equal(found, answers(predictor, prepare(asked, CODECS), name, ())), name
        alone = [stage(asked.iloc[[place]])["predicted_label"][0] for place in (0, 19)]
        assert alone == pytest.approx([found[0], found[19]], rel=1e-5), name


def test_they_take_classes_and_weights(rows: pd.DataFrame, tmp_path: Path) -> None:
    labels = ("high", "low", "middle")
    about = {"problem_type": "MulticlassClassification", "objective": "Accuracy", "labels": labels, "weight": "weight"}
    predictor = trained(rows, tmp_path, {"MLP": {}, "SPARSE": {}}, target="level", **about)
    for name in ("MLP_BAG_L1", "SparseLinear_BAG_L1"):
        measured = predictor._trainer.get_model_oof(name)
        assert measured.sum(axis=1) == pytest.approx(1)
        right = np.array(labels)[measured.argmax(axis=1)] == rows["level"]
        assert right.mean() > 0.1 + rows["level"].value_counts(normalize=True).max()
        assert answers(predictor, prepare(rows[:5], CODECS), name, labels).shape == (5, 3)


def test_without_time_they_are_given_up_like_any_other_model(rows: pd.DataFrame, tmp_path: Path) -> None:
    models = {"MLP": {"ag_args_fit": {"max_time_limit": 0.001}}, "GBM": {"num_boost_round": 5}}
    predictor = trained(rows, tmp_path, models)
    assert not [name for name in predictor.model_names() if name.startswith("MLP")]
    assert "LightGBM_BAG_L1" in predictor.model_names()
