import pytest

from airflow_automl.contract.metrics import (
    DEFAULT_OBJECTIVE,
    OBJECTIVES,
    best,
    candidate_metrics,
    direction,
    objective_name,
    objective_value,
    standard_metrics,
    standard_name,
)


def candidate(name, value=None, metric="F1", latency=None, status="Completed"):
    listed = [] if latency is None else [{"StandardMetricName": "InferenceLatency", "Value": latency}]
    made = {"CandidateName": name, "CandidateStatus": status, "CandidateProperties": {"CandidateMetrics": listed}}
    return made if value is None else made | {"FinalAutoMLJobObjectiveMetric": {"MetricName": metric, "Value": value}}


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("F1", "F1"),
        ("validation:f1", "F1"),
        ("validation:f1_binary", "F1"),
        ("validation:f1_macro", "F1macro"),
        ("validation:macro_f1", "F1macro"),
        ("validation:accuracy", "Accuracy"),
        ("validation:mse", "MSE"),
        ("roc_auc", "AUC"),
        ("balanced_accuracy", "BalancedAccuracy"),
        ("Balanced Accuracy", "BalancedAccuracy"),
        ("inference-latency", "InferenceLatency"),
        ("Average wQL", "AverageWeightedQuantileLoss"),
        ("rougeLsum", "RougeLSum"),
        ("my_metric", "my_metric"),
        ("", ""),
        ({"MetricName": "validation:f1"}, "F1"),
        ({"MetricName": "F1", "StandardMetricName": "F1macro"}, "F1macro"),
        ({"MetricName": None, "StandardMetricName": "AUC"}, "AUC"),
        ({}, ""),
    ],
)
def test_standard_names(metric, expected):
    assert standard_name(metric) == expected


@pytest.mark.parametrize("metric", standard_metrics())
def test_a_standard_name_is_its_own(metric):
    assert standard_name(metric) == metric
    assert standard_name(metric.upper()) == metric


def test_directions():
    minimized = {metric for metric in standard_metrics() if direction(metric) == "Minimize"}
    assert minimized == {
        *("MSE", "RMSE", "MAE", "MAPE", "MASE", "WAPE", "AverageWeightedQuantileLoss"),
        *("LogLoss", "InferenceLatency", "Perplexity", "ValidationLoss", "TrainingLoss"),
    }
    assert direction("validation:mse") == "Minimize"
    assert direction("unheard_of") == "Maximize"


def test_defaults_are_objectives_of_their_problem():
    for problem, metric in DEFAULT_OBJECTIVE.items():
        assert metric in OBJECTIVES[problem]
    assert set(OBJECTIVES) - set(DEFAULT_OBJECTIVE) == {"TextGeneration"}


class TestCandidateMetrics:
    def test_the_validation_data_is_preferred(self):
        metrics = [
            {"MetricName": "F1", "Value": 0.9, "Set": "Train"},
            {"MetricName": "F1", "StandardMetricName": "F1", "Value": 0.7, "Set": "Validation"},
            {"MetricName": "F1", "Value": 0.8, "Set": "Test"},
            {"StandardMetricName": "LogLoss", "Value": 0.4, "Set": "Train"},
            {"StandardMetricName": "InferenceLatency", "Value": 1},
        ]
        made = {"CandidateProperties": {"CandidateMetrics": metrics}}
        assert candidate_metrics(made) == {"F1": 0.7, "LogLoss": 0.4, "InferenceLatency": 1.0}

    def test_the_objective_is_added_where_the_list_lacks_it(self):
        assert candidate_metrics(candidate("a", 0.7, "validation:f1", latency=2)) == {
            "InferenceLatency": 2.0,
            "F1": 0.7,
        }

    @pytest.mark.parametrize(
        "odd",
        [
            {},
            {"CandidateProperties": None},
            {"CandidateProperties": {"CandidateMetrics": None}},
            {"CandidateProperties": {"CandidateMetrics": [None, {}, {"MetricName": "F1"}, {"Value": 1}]}},
            {"CandidateProperties": {"CandidateMetrics": [{"MetricName": "F1", "Value": "0.3", "Set": 7}]}},
            {"CandidateProperties": {"CandidateMetrics": [{"MetricName": "F1", "Value": float("nan")}]}},
            {"FinalAutoMLJobObjectiveMetric": None},
            {"FinalAutoMLJobObjectiveMetric": {"MetricName": "F1", "Value": True}},
        ],
    )
    def test_odd_answers_have_no_metrics(self, odd):
        assert candidate_metrics(odd) == {}
        assert objective_value(odd) is None

    def test_an_objective_without_value_has_a_name(self):
        odd = {"FinalAutoMLJobObjectiveMetric": {"MetricName": "validation:auc"}}
        assert (objective_name(odd), objective_value(odd)) == ("AUC", None)
        assert objective_name({}) is None


class TestBest:
    def test_the_highest_where_more_is_better(self):
        assert best([candidate("a", 0.7), candidate("b", 0.9), candidate("c", 0.8)])["CandidateName"] == "b"

    def test_the_lowest_where_less_is_better(self):
        assert best([candidate("a", 3, "MSE"), candidate("b", 1, "MSE")], "MSE")["CandidateName"] == "b"

    def test_the_faster_of_equals(self):
        tied = [candidate("a", 0.9), candidate("b", 0.9, latency=0.5), candidate("c", 0.9, latency=0.2)]
        assert best(tied)["CandidateName"] == "c"

    def test_the_first_of_complete_equals(self):
        assert best([candidate("a", 0.9), candidate("b", 0.9)])["CandidateName"] == "a"

    def test_candidates_without_completion_or_metric_are_ignored(self):
        assert (
            best([candidate("a", 0.9, status="InProgress"), candidate("b"), candidate("c", 0.1)])["CandidateName"]
            == "c"
        )
        assert best([candidate("a")]) is None
        assert best([]) is None

    def test_by_another_metric_than_the_jobs(self):
        assert best([candidate("a", 0.9, latency=2), candidate("b", 0.1, latency=1)], "InferenceLatency")[
            "CandidateName"
        ] == ("b")
        assert best([candidate("a", 0.9)], "AUC") is None
