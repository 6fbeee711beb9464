"""The three algorithms: they learn, stop in time, and are data that predicts the same when it is read again."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from airflow_automl.contract.metrics import OBJECTIVES, direction
from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data.codec import Codec, Kind
from airflow_automl.local.training.engines import metrics
from airflow_automl.local.training.engines.course import Clock, TimeIsUp
from airflow_automl.local.training.engines.tabular.tuning import trial
from airflow_automl.local.training.engines.tabular.tuning.features import RANKS, STANDARD, TREES, FeatureTransformer
from airflow_automl.local.training.engines.tabular.tuning.learners import (
    Assignment,
    Target,
    TrainedAlgorithm,
    balanced_weights,
    may_be_logarithmic,
    start,
)
from airflow_automl.local.training.engines.tabular.tuning.scikit import BLOCK, Blocks
from airflow_automl.local.training.engines.tabular.tuning.search import Choice, Search, SearchSpace, algorithms_for
from airflow_automl.local.training.engines.tabular.tuning.table import Measuring, Part, Table, folds
from airflow_automl.local.training.engines.tabular.tuning.trial import Pruned, Workbench

BOOSTING = Choice("xgboost", TREES, {"rounds": 60, "eta": 0.1, "max_depth": 3})
LOGISTIC = Choice("linear-learner", STANDARD, {"family": "logistic", "strength": 1e-3})
SGD = Choice("linear-learner", RANKS, {"family": "sgd", "strength": 1e-4})
RIDGE = Choice("linear-learner", STANDARD, {"family": "ridge", "strength": 1e-2})
NETWORK = Choice(
    "mlp",
    RANKS,
    {"layers": 2, "width": 24, "activation": "relu", "alpha": 1e-3, "rate": 5e-3, "batch": 32},
)


def table(load):
    data = load(as_frame=True)
    features = [Codec(str(name), Kind.NUMBER) for name in data.data.columns]
    values = data.target.to_numpy()
    classes = 0 if load is load_diabetes else len(np.unique(values))
    return Table(FeatureTransformer.fit(data.data, features), data.data, values), classes


@pytest.fixture(scope="module")
def tables():
    return {load.__name__: table(load) for load in (load_breast_cancer, load_wine, load_diabetes)}


def bench(rows, classes, objective, problem):
    return Workbench(Measuring.crossing(rows, classes, len(rows)), problem, objective, classes, 2, Part(rows))


PROBLEMS = {
    "load_breast_cancer": ("BinaryClassification", "AUC", 0.98),
    "load_wine": ("MulticlassClassification", "Accuracy", 0.93),
    "load_diabetes": ("Regression", "R2", 0.4),
}


@pytest.mark.parametrize(
    ("data", "choice"),
    [
        ("load_breast_cancer", BOOSTING),
        ("load_breast_cancer", LOGISTIC),
        ("load_breast_cancer", SGD),
        ("load_breast_cancer", NETWORK),
        ("load_wine", BOOSTING),
        ("load_wine", LOGISTIC),
        ("load_wine", SGD),
        ("load_wine", NETWORK),
        ("load_diabetes", BOOSTING),
        ("load_diabetes", RIDGE),
        ("load_diabetes", SGD),
        ("load_diabetes", NETWORK),
    ],
)
def test_every_algorithm_learns_every_problem_and_survives_the_disk(tables, tmp_path, data, choice):
    rows, classes = tables[data]
    problem, objective, least = PROBLEMS[data]
    result = bench(rows, classes, objective, problem).run(choice, Clock(None), lambda *_: False)
    assert result.measured.value > least
    assert not result.cut
    assert result.train[objective] > least
    # What is measured is what the answers of the folds say, by the API's own definitions.
    again = metrics.scores(
        problem, rows.values, result.measured.scores, range(classes), None, result.measured.threshold
    )
    assert again == result.measured.metrics
    result.model.save(tmp_path, {})
    loaded = TrainedAlgorithm.load(tmp_path)
    matrix = rows.matrix(choice.view)
    np.testing.assert_allclose(loaded.scores(matrix), result.model.scores(matrix), rtol=1e-6, atol=1e-7)
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".npz"}, "a model is data, never code"
    if classes:
        np.testing.assert_allclose(loaded.scores(matrix).sum(axis=1), 1, atol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "choice", [LOGISTIC, SGD, NETWORK], ids=lambda choice: str(choice.options.get("family", "mlp"))
)
@pytest.mark.parametrize("data", ["load_breast_cancer", "load_wine"])
def test_the_arrays_predict_what_scikit_learn_predicts(tables, data, choice):
    rows, classes = tables[data]
    learner = start(Assignment(Part(rows), choice, Target(classes), "Accuracy", 1, 1))
    learner.advance(9, lambda: False)
    matrix = rows.matrix(choice.view)
    np.testing.assert_allclose(
        learner.snapshot().answer(matrix), learner._model.predict_proba(matrix), rtol=1e-4, atol=1e-5
    )


def test_a_result_is_the_same_on_every_run(tables):
    rows, classes = tables["load_wine"]
    for choice in (Choice("xgboost", TREES, BOOSTING.options | {"subsample": 0.6}), SGD, NETWORK):
        runs = [
            bench(rows, classes, "Accuracy", "MulticlassClassification").run(choice, Clock(None), lambda *_: False)
            for _ in range(2)
        ]
        assert np.array_equal(runs[0].measured.scores, runs[1].measured.scores)


def test_a_model_trained_until_the_time_limit_is_kept(tables):
    rows, classes = tables["load_breast_cancer"]
    endless = Choice("xgboost", TREES, BOOSTING.options | {"rounds": 10**6, "eta": 0.001})
    workbench = bench(rows, classes, "AUC", "BinaryClassification")
    workbench.prepare(endless)
    result = workbench.run(endless, Clock(3.0), lambda *_: False)
    assert result.cut
    assert result.measured.value > 0.9


class Steps:
    """A clock that passes after some looks at it."""

    left = None

    def __init__(self, looks):
        self._looks = iter(range(looks))

    @property
    def passed(self):
        return next(self._looks, None) is None

    def part(self, share):
        return self


@pytest.mark.parametrize(("looks", "brief", "rounds"), [(150, 60, 150), (150, 0, 100), (100, 60, 100)])
def test_what_was_trained_since_the_last_measurement_counts_at_the_time_limit(
    tables, monkeypatch, looks, brief, rounds
):
    monkeypatch.setattr(trial, "_BRIEF", brief)
    rows, _ = tables["load_diabetes"]
    measuring = Measuring.holdout(rows, rows, 0, sampled=False)
    workbench = Workbench(measuring, "Regression", "MSE", 0, 1, Part(rows))
    long = Choice("xgboost", TREES, BOOSTING.options | {"rounds": 900, "eta": 0.01})
    told = []
    result = workbench.run(long, Steps(looks), lambda step, value: bool(told.append(step)))
    assert result.cut
    assert result.model.estimator.rounds == rounds, "one look a round, a measurement after 100"
    assert told == ([1] if rounds == 100 else [1, 2])


def test_sample_weights_reach_the_linear_model():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=400)})
    heavy = np.arange(400) < 100
    slope = np.where(heavy, 1.0, -1.0) * frame["x"].to_numpy()
    transformer = FeatureTransformer.fit(frame, [Codec("x", Kind.NUMBER)])
    for choice, values, classes in ((RIDGE, slope, 0), (LOGISTIC, (slope > 0).astype(int), 2)):
        weights, learned = np.where(heavy, 9.0, 1.0), []
        for given in (None, weights, weights / 1e6):
            part = Part(Table(transformer, frame, values, given))
            learner = start(Assignment(part, choice, Target.fit(values, classes), "MSE", 1, 1))
            learner.advance(learner.total, lambda: False)
            learned.append(learner.snapshot().weights[0][0])
        assert learned[0] < 0 < learned[1] == pytest.approx(learned[2])


@pytest.mark.parametrize("seen", [(1, 3), (0, 1, 3)])
def test_a_linear_model_of_fewer_classes_answers_for_each_by_its_number(seen):
    codes = np.repeat(seen, 50)
    frame = pd.DataFrame({"x": codes * 5.0, "z": codes % 3 * 5.0})
    rows = Table(FeatureTransformer.fit(frame, [Codec(name, Kind.NUMBER) for name in frame]), frame, codes)
    learner = start(Assignment(Part(rows), LOGISTIC, Target(4), "Accuracy", 1, 1))
    learner.advance(learner.total, lambda: False)
    answers = learner.snapshot().answer(rows.matrix(STANDARD))
    assert answers.shape == (len(codes), 4)
    assert answers.sum(axis=1) == pytest.approx(1)
    assert answers.argmax(axis=1).tolist() == codes.tolist()
    assert answers[:, sorted({0, 1, 2, 3} - {*seen})].max() < 1e-6


@pytest.mark.parametrize(
    ("most", "at_once", "expected"),
    [
        (None, 1, [("mlp", 1 / 8), ("linear-learner", 1 / 8), ("xgboost", 1.0)]),
        (None, 3, [("mlp", 1.0), ("linear-learner", 1.0), ("xgboost", 1.0)]),
        (2, 1, [("linear-learner", 1 / 8), ("xgboost", 1.0)]),
        (1, 1, [("xgboost", 1.0)]),
    ],
)
def test_each_algorithm_is_tried_and_leaves_time_for_trees(most, at_once, expected):
    space = SearchSpace(("xgboost", "linear-learner", "mlp"), 2, 500, "AUC")
    search = Search(space, "job", at_once, most)
    proposals = [search.propose() for _ in expected]
    assert [(each.choice.algorithm, each.share) for each in proposals] == expected
    assert search.propose().share == 1.0


def test_a_search_without_any_time_raises_time_is_up(tables):
    rows, classes = tables["load_breast_cancer"]
    with pytest.raises(TimeIsUp):
        bench(rows, classes, "AUC", "BinaryClassification").run(BOOSTING, Clock(0.0), lambda *_: False)


def test_a_pruned_candidate_ends_at_once(tables):
    rows, classes = tables["load_breast_cancer"]
    told = []
    with pytest.raises(Pruned) as pruned:
        bench(rows, classes, "AUC", "BinaryClassification").run(
            BOOSTING, Clock(None), lambda step, value: bool(told.append((step, value))) or step == 2
        )
    assert pruned.value.step == 2
    assert [step for step, _ in told] == [1, 2]


def test_answers_whose_objective_overflows_are_a_failure(tables):
    rows, _ = tables["load_diabetes"]
    with pytest.raises(JobFailure, match="MSE of the model's answers is not finite"):
        bench(rows, 0, "MSE", "Regression")._measured(np.full(len(rows), 1e200))


def test_samples_come_before_all_rows(tables):
    rows, classes = tables["load_breast_cancer"]
    measuring = Measuring.holdout(rows, rows, classes, sampled=True)
    shares = {share: len(part) for share, part in measuring.samples}
    assert shares == {1: pytest.approx(len(rows) / 9, abs=2), 3: pytest.approx(len(rows) / 3, abs=2)}
    small, middle = (part.rows for _, part in measuring.samples)
    assert set(small) < set(middle)
    told = []
    workbench = Workbench(measuring, "BinaryClassification", "AUC", classes, 2, Part(rows))
    workbench.run(BOOSTING, Clock(None), lambda step, value: bool(told.append(step)))
    assert told == [1, 3]


def test_a_model_trained_on_a_sample_is_kept_at_the_time_limit(tables):
    rows, classes = tables["load_breast_cancer"]
    measuring = Measuring.holdout(rows, rows, classes, sampled=True)
    workbench = Workbench(measuring, "BinaryClassification", "AUC", classes, 2, Part(rows))
    endless = Choice("xgboost", TREES, BOOSTING.options | {"rounds": 10**6, "eta": 0.001})
    workbench.prepare(endless)
    result = workbench.run(endless, Clock(3.0), lambda *_: pytest.fail("the first sample never ends"))
    assert result.cut
    assert result.measured.value > 0.8


def test_every_row_validates_once_and_classes_are_spread(tables):
    rows, classes = tables["load_wine"]
    measuring = Measuring.crossing(rows, classes, len(rows))
    assert sorted(np.concatenate([fold.positions for fold in measuring.folds])) == list(range(len(rows)))
    for fold in measuring.folds:
        assert not set(fold.train.rows) & set(fold.validation.rows)
        assert np.bincount(fold.validation.values, minlength=3).min() >= 9
    assert np.bincount(folds(np.random.default_rng(0).normal(size=503), 0)).tolist() == pytest.approx(
        [100.6] * 5, abs=1
    )


def test_rows_that_are_not_measured_are_learned_from_in_every_fold(tables):
    rows, classes = tables["load_wine"]
    measuring = Measuring.crossing(rows, classes, 170)
    assert sorted(np.concatenate([fold.positions for fold in measuring.folds])) == list(range(170))
    assert len(measuring.truth) == 170
    for fold in measuring.folds:
        assert set(range(170, len(rows))) <= set(fold.train.rows)


def test_predictions_have_the_scale_of_the_target():
    values = np.random.default_rng(1).lognormal(4, 1, 500)
    assert may_be_logarithmic(values)
    assert not may_be_logarithmic(np.linspace(-1, 1, 50))
    for logarithmic in (False, True):
        target = Target.fit(values, 0, logarithmic)
        encoded = target.encode(values)
        assert abs(encoded.mean()) < 1e-9
        np.testing.assert_allclose(target.decode(encoded), values)


def test_balanced_classes_have_the_same_say():
    codes = np.array([0] * 90 + [1] * 10)
    weights = balanced_weights(codes, 2)
    assert weights[codes == 0].sum() == pytest.approx(weights[codes == 1].sum())
    assert weights.mean() == pytest.approx(1)


def test_only_the_algorithms_of_the_mode_are_taken():
    assert algorithms_for(None) == ("xgboost", "linear-learner", "mlp")
    assert algorithms_for(()) == ("xgboost", "linear-learner", "mlp")
    assert algorithms_for(["mlp", "mlp", "xgboost"]) == ("xgboost", "mlp")
    with pytest.raises(Exception, match="does not train 'catboost'"):
        algorithms_for(["catboost"])


def test_balancing_is_searched_only_where_it_can_help():
    names = [set(SearchSpace(("xgboost",), 2, 500, metric).starts()[0]) for metric in ("AUC", "BalancedAccuracy")]
    assert names[1] - names[0] == {"balanced"}
    assert "logarithmic" in SearchSpace(("xgboost",), 0, 500, "MSE", logarithmic=True).starts()[0]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_frame_of_many_words_stays_sparse():
    texts = pd.DataFrame({"text": [f"word{n % 400} and word{n % 397} here" for n in range(1200)]})
    transformer = FeatureTransformer.fit(texts, [Codec("text", Kind.TEXT, "text")])
    rows = Table(transformer, texts, np.arange(1200) % 2)
    assert transformer.is_sparse
    for choice in (LOGISTIC, SGD, NETWORK):
        learner = start(Assignment(Part(rows), choice, Target(2), "Accuracy", 1, 1))
        learner.advance(2, lambda: False)
        assert learner.snapshot().answer(rows.matrix(choice.view)).shape == (1200, 2)


def test_ridge_regression_is_solved_exactly_beside_many_words():
    sizes = np.random.default_rng(0).integers(0, 24, (1200, 2))
    texts = [f"word{hour * 20 + minute} here and word{number % 397}" for number, (hour, minute) in enumerate(sizes)]
    frame = pd.DataFrame({"hour": sizes[:, 0], "minute": sizes[:, 1], "text": texts}).astype({"hour": float})
    codecs = [Codec("hour", Kind.NUMBER), Codec("minute", Kind.NUMBER), Codec("text", Kind.TEXT, "text")]
    rows = Table(FeatureTransformer.fit(frame, codecs), frame, 100.0 * sizes[:, 0] + sizes[:, 1])
    choice = Choice("linear-learner", STANDARD, {"family": "ridge", "strength": 1e-6})
    target = Target.fit(rows.values, 0, False)
    learner = start(Assignment(Part(rows), choice, target, "RMSE", 1, 1))
    learner.advance(1, lambda: False)
    errors = target.decode(learner.snapshot().answer(rows.matrix(STANDARD))) - rows.values
    assert errors.std() < 2e-4 * rows.values.std()


@pytest.mark.parametrize(
    ("data", "objective"),
    [(data, objective) for data, (problem, _, _) in PROBLEMS.items() for objective in OBJECTIVES[problem]],
)
def test_every_objective_of_the_api_can_be_searched_for(tables, data, objective):
    rows, classes = tables[data]
    workbench = bench(rows, classes, objective, PROBLEMS[data][0])
    search = Search(SearchSpace(("linear-learner",), classes, len(rows), objective), "job")
    values = []
    for _ in range(2):
        proposal = search.propose()
        result = workbench.run(proposal.choice, Clock(None), lambda *_: False)
        search.tell(proposal, "Completed", result.measured.value)
        assert result.measured.value == result.measured.metrics[objective]
        values.append(result.measured.value)
    assert np.isfinite(values).all()
    assert search._study.best_value == (min(values) if direction(objective) == "Minimize" else max(values))


def test_blocks_go_through_all_rows_in_a_new_order_each_time():
    blocks = Blocks(BLOCK * 2 + 3, 32, np.random.RandomState(0))
    assert blocks.per_pass == 3
    passes = [[next(blocks) for _ in range(3)] for _ in range(2)]
    for first, second, rest in passes:
        assert sorted(np.concatenate([first, second, rest[:3]])) == list(range(BLOCK * 2 + 3))
        assert len(rest) == 32, "a block too small for a batch is filled up"
    assert not np.array_equal(passes[0][0], passes[1][0])
