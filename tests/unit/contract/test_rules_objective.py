import pytest

from airflow_automl.contract.metrics import OBJECTIVES
from airflow_automl.contract.model import shapes
from tests.unit.contract.samples import TAB, found, v1, v2, warned

METRIC = "AutoMLJobObjective.MetricName"
METRICS = tuple(shapes()["AutoMLMetricEnum"]["enum"])
FORECASTING = {"MAPE", "MASE", "WAPE", "AverageWeightedQuantileLoss"}
TABULAR = ("Regression", "BinaryClassification", "MulticlassClassification")


def objective(metric):
    return {"MetricName": metric}


class TestR39ObjectiveAndProblemType:
    def test_a_missing_objective_is_reported_at_its_own_path(self):
        assert found("V2", v2(config={"ProblemType": "Regression"})) == {("R39", "AutoMLJobObjective")}

    def test_a_missing_problem_type_is_reported_at_its_own_path(self):
        assert found("V2", v2(AutoMLJobObjective=objective("AUC"))) == {("R39", f"{TAB}.ProblemType")}

    def test_neither_is_fine(self):
        assert found("V2", v2()) == set()

    def test_it_does_not_bind_other_problems(self):
        assert found("V2", v2("text", AutoMLJobObjective=objective("Accuracy"))) == set()


class TestMetricsByProblem:
    @pytest.mark.parametrize("problem_type", TABULAR)
    @pytest.mark.parametrize("metric", METRICS)
    def test_r40_tables(self, problem_type, metric):
        allowed = metric in OBJECTIVES[problem_type]
        request = v2(config={"ProblemType": problem_type}, AutoMLJobObjective=objective(metric))
        assert found("V2", request) == (set() if allowed else {("R40", METRIC)})
        request = v1(ProblemType=problem_type, AutoMLJobObjective=objective(metric))
        expected = set() if allowed else {("R40", METRIC)}
        assert found("V1", request) == expected | ({("R41", METRIC)} if metric in FORECASTING else set())

    @pytest.mark.parametrize("metric", METRICS)
    def test_r41_v1_without_problem_type_still_has_no_forecasts(self, metric):
        expected = {("R41", METRIC)} if metric in FORECASTING else set()
        assert found("V1", v1(AutoMLJobObjective=objective(metric))) == expected

    @pytest.mark.parametrize("kind", ["text", "image"])
    @pytest.mark.parametrize("metric", METRICS)
    def test_r42_text_and_images_know_accuracy(self, kind, metric):
        expected = set() if metric == "Accuracy" else {("R42", METRIC)}
        assert found("V2", v2(kind, AutoMLJobObjective=objective(metric))) == expected

    @pytest.mark.parametrize("metric", METRICS)
    def test_r43_forecasts(self, metric):
        expected = set() if metric in FORECASTING | {"RMSE"} else {("R43", METRIC)}
        assert found("V2", v2("time_series", AutoMLJobObjective=objective(metric))) == expected

    @pytest.mark.parametrize("metric", ["InferenceLatency", "LogLoss", "wQL", "auc"])
    def test_a_value_outside_of_the_enum_violates_the_shape(self, metric):
        assert ("shape", METRIC) in found("V1", v1(AutoMLJobObjective=objective(metric)))

    def test_r44_text_generation_ignores_any(self):
        request = v2("generation", AutoMLJobObjective=objective("Accuracy"))
        assert warned("V2", request) == {("R44", "AutoMLJobObjective")}


class TestR48OneOfTheTwoInV1:
    def test_each_alone_is_warned_about(self):
        assert warned("V1", v1(ProblemType="Regression")) == {("R48", "AutoMLJobObjective")}
        assert warned("V1", v1(AutoMLJobObjective=objective("MSE"))) == {("R48", "ProblemType")}

    def test_both_are_fine(self):
        assert warned("V1", v1(ProblemType="Regression", AutoMLJobObjective=objective("MSE"))) == set()
