import json
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest

from airflow_automl.local.training.data.codec import Codec, Kind
from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.engines import reports
from airflow_automl.local.training.engines.candidates import Candidate
from airflow_automl.local.training.engines.tabular import reports as shapley
from airflow_automl.report.insights import _explainability, _model_insights

RANDOM = np.random.default_rng(2)


def test_contributions_of_a_linear_model_are_its_coefficients():
    frame = pd.DataFrame(RANDOM.normal(size=(400, 3)), columns=["a", "b", "c"])
    found = shapley.contributions(frame, lambda rows: (rows["a"] * 3 - rows["b"]).to_numpy()[:, None], 20)
    a, b, c = found.values[0]
    assert c == pytest.approx(0, abs=1e-9)
    assert a / b == pytest.approx(3, rel=0.5)
    assert found.rounds == shapley.MAX_ROUNDS


def test_contributions_keep_the_types_of_the_columns():
    frame = pd.DataFrame(
        {"n": [1, 2, 3, 4], "when": pd.date_range("2020", periods=4), "c": pd.Categorical(list("abab"))}
    )
    seen = []
    shapley.contributions(frame, lambda rows: (seen.append(rows.dtypes), np.zeros((len(rows), 2)))[1], 0)
    assert all((types == frame.dtypes).all() for types in seen)


def test_one_round_is_made_even_without_time():
    frame = pd.DataFrame({"a": RANDOM.normal(size=50)})
    assert shapley.contributions(frame, lambda rows: rows.to_numpy(), 0).rounds == 1


def test_binary_insights_hold_matrix_and_curves():
    truth = np.array(["no", "yes", "yes", "no"] * 50)
    positive = np.clip((truth == "yes") * 0.4 + RANDOM.random(200) * 0.6, 0, 1)
    scores = np.column_stack([1 - positive, positive])
    document = json.loads(
        json.dumps(
            reports.statistics(
                "BinaryClassification", truth, scores, ("no", "yes"), 0.5, {"F1": 0.5, "BalancedAccuracy": 0.6}
            )
        )
    )
    section = document["binary_classification_metrics"]
    assert sum(sum(row.values()) for row in section["confusion_matrix"].values()) == 200
    assert section["confusion_matrix"]["no"]["yes"] == int(((truth == "no") & (positive >= 0.5)).sum())
    assert section["balanced_accuracy"] == {"value": 0.6}
    curve = section["receiver_operating_characteristic_curve"]
    assert (curve["false_positive_rates"][0], curve["true_positive_rates"][-1]) == (0, 1)
    found = {}
    _model_insights(document, found)
    assert set(found) >= {"confusion_matrix", "roc"}
    assert "<svg" in reports.page("c", reports.sections(document))


def test_multiclass_and_regression_insights():
    scores = RANDOM.dirichlet([1, 1, 1], 100)
    multi = reports.statistics("MulticlassClassification", np.array([1, 2, 3, 1] * 25), scores, (1, 2, 3), 0.5, {})
    assert list(multi["multiclass_classification_metrics"]["confusion_matrix"]) == ["1", "2", "3"]
    truth = RANDOM.normal(size=700)
    regression = reports.statistics("Regression", truth, truth + 1, (), 0.5, {"MSE": 1.0})["regression_metrics"]
    assert regression["residuals"]["mean"] == pytest.approx(-1)
    assert len(regression["residuals"]["actual"]) == reports.RESIDUALS
    json.dumps(regression)


def test_pages_escape_what_they_show():
    text = reports.page(
        "<script>", [("<b>", reports.bars({"<img>": 1.0}) + reports.table([["<td>"]], ["<th onload>"]))]
    )
    for raw in ("<script>", "<img>", "<td><td>", "<th onload>"):
        assert raw not in text
    assert "default-src 'none'" in text


def test_the_explainability_report_has_the_layout_of_clarify():
    found = {}
    _explainability(
        {"explanations": {"kernel_shap": {"label0": {"global_shap_values": {"a": 0.5}, "expected_value": 1}}}}, found
    )
    assert found == {"feature_importance": {"a": 0.5}}


@pytest.mark.parametrize(("most", "weight"), [(60, None), (50, None), (60, "w")])
def test_insights_say_which_rows_they_are_of_if_these_differ(monkeypatch, most, weight):
    monkeypatch.setattr(shapley, "MAX_ROWS", most)
    rows = pd.DataFrame({"a": RANDOM.normal(size=60), "w": 2.0}).assign(y=lambda frame: frame["a"] * 2)
    data = TabularDataset(rows, rows, (Codec("a", Kind.NUMBER),), "y", weight, "Regression", "MSE", ())
    candidate = Candidate.__new__(Candidate)
    candidate.name, candidate.threshold, candidate.validation = "c", 0.5, {"MSE": 0.1}
    files = shapley._insights(data, candidate, rows["y"].to_numpy(), lambda clock: rows["y"].to_numpy(), 0)
    dataset = json.loads(files["statistics.json"])["dataset"]
    weighted = ", weighted" if weight else ""
    expected = f"of all 60 validation rows{weighted}; counts, curves and residuals are of {most}, unweighted."
    assert (expected in dataset.get("note", "")) == (expected in files["report.html"]) == (most < 60 or bool(weight))


def test_unreadable_values_are_shown_on_both_pages_of_a_tabular_job():
    rows = pd.DataFrame({"a": RANDOM.normal(size=60)}).assign(y=lambda frame: frame["a"] * 2)
    note = "12 of 600 values of the column 'a' can't be read as numbers and count as missing: '<many>' in 12 rows."
    data = TabularDataset(
        rows, rows, (Codec("a", Kind.NUMBER),), "y", None, "Regression", "MSE", (), notes=(note,), failures=(note,)
    )
    candidate = Candidate.__new__(Candidate)
    candidate.name, candidate.threshold, candidate.validation = "c", 0.5, {"MSE": 0.1}
    scores = lambda frame: frame["a"].to_numpy()  # noqa: E731
    for files in (
        shapley._explain(data, candidate, scores, lambda: nullcontext(shapley.Unseen(rows, scores)), 0),
        shapley._insights(data, candidate, rows["y"].to_numpy(), lambda clock: rows["y"].to_numpy(), 5),
    ):
        assert "&lt;many&gt;&#39; in 12 rows." in files["report.html"]
