"""What an ensembling job trains: which models, in which order, within which limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.training.data.target import BINARY
from airflow_automl.local.training.engines.metrics import THRESHOLD_METRICS
from airflow_automl.local.training.engines.registry import missing
from airflow_automl.local.training.engines.tabular.modes import FOLDS, LARGE, may_cross

DEFAULT_CANDIDATES = 10
"""Of a job without any limit."""

TIMED_CANDIDATES = 26
"""Of a job that only its time limits: small tables would end long before it with ten."""

_METRICS = {
    "Accuracy": "accuracy",
    "AUC": "roc_auc",
    "BalancedAccuracy": "balanced_accuracy",
    "F1": "f1",
    "F1macro": "f1_macro",
    "Precision": "precision",
    "PrecisionMacro": "precision_macro",
    "Recall": "recall",
    "RecallMacro": "recall_macro",
    "MAE": "mean_absolute_error",
    "MSE": "mean_squared_error",
    "RMSE": "root_mean_squared_error",
    "R2": "r2",
}
"""Metric of the API → AutoGluon's name for it."""

ALGORITHMS = {
    "lightgbm": ("GBM", ("lightgbm",)),
    "catboost": ("CAT", ("catboost",)),
    "xgboost": ("XGB", ("xgboost",)),
    "linear-learner": ("LR", ("sklearn",)),
    "randomforest": ("RF", ("sklearn",)),
    "extra-trees": ("XT", ("sklearn",)),
    "nn-torch": ("NN_TORCH", ("torch",)),
    "fastai": ("FASTAI", ("fastai", "torch")),
}
"""Algorithm of the API → AutoGluon's key for it and the packages it imports."""

MLP, SPARSE = "MLP", "SPARSE"
"""Keys of what the tuner trains too: its network, which no request can name in this mode (R55), and its linear model,
which is trained where AutoGluon's is. They learn from rare categories and words, which others leave out."""


def metric_for(objective: str, problem_type: str) -> str:
    """Return what AutoGluon optimizes for an objective.

    For objectives that depend on a threshold this is the log loss: the threshold is chosen afterwards, for each
    candidate, so that models need not be fitted to F1 at 0.5. Held-out F1 over nine splits (churn, attrition and
    lending club, three each): .423 fitted to F1, .440 to the log loss, which was ahead in five of the nine; the area
    under the ROC curve (.447) did not differ significantly from it.
    """
    if problem_type == BINARY and objective in THRESHOLD_METRICS:
        return "log_loss"
    return _METRICS[objective]


_NEURAL = ("nn-torch", "fastai")
"""The first one is trained without ample time, too, if there are many classes."""

_MANY_CLASSES = 10

_AMPLE = 2.5
_AMPLE_SECONDS = 120
"""With so many times the time of a cross-validation, but no less than this, neural networks are trained, which take
longer than all trees together, and models are stacked."""

_STACKING_CANDIDATES = 8
_STACKING_ROWS = 1000
"""Second-level models learn from what others say about rows that these had not seen: few rows teach them little."""

_SHARE = 0.5
"""No model may take more than this part of the time that is left when it starts."""

_FOLD_SHARE = 0.75
"""What a fold may take of that; the rest is for its predictions, which take as long with thousands of trees. AutoGluon
reserves a fifth, and drops all folds of a model that would need more."""
_LIGHTGBM_FOLD_SHARE = 0.55
"""LightGBM's trees are written as text, twice: what follows the learning takes up to 0.8 times as long as that. As it
trains first, all of this must fit into half of the time, or little is left for others."""


@dataclass(frozen=True)
class Plan:
    """AutoGluon's settings.

    :param hyperparameters: AutoGluon's key → configurations, in the order of their priority; with stacking, level →
        such a mapping.
    :param fit: the other arguments of ``TabularPredictor.fit``.
    :param missing: algorithm → packages it lacks, for algorithms that can't be trained here.
    """

    hyperparameters: Mapping[Any, Any]
    fit: Mapping[str, Any]
    missing: Mapping[str, Sequence[str]]

    @property
    def levels(self) -> list[Mapping[str, Any]]:
        """Return the configurations of each level."""
        return [self.hyperparameters] if 1 not in self.hyperparameters else list(self.hyperparameters.values())

    @property
    def neural(self) -> bool:
        """Return whether a neural network is trained."""
        return any(ALGORITHMS[name][0] in level for level in self.levels for name in _NEURAL)


def make(
    *,
    rows: int,
    features: int,
    classes: int,
    algorithms: Sequence[str] | None,
    max_candidates: int | None,
    seconds: float | None,
    seconds_per_model: int | None,
    threads: int,
    memory_limit: int | None,
    crossed: bool = False,
    objective: str = "",
) -> Plan:
    """Plan an ensembling job.

    Of ``n`` candidates, ``n - 1`` are base models and the last one is their weighted ensemble. Up to two candidates are
    all base models: an ensemble of one model is that model. Cross-validated models may be stacked: then a part of them
    is of a second level, and each level has its ensemble.

    :param rows: of the training data.
    :param features: of the training data.
    :param classes: of the target; 0 for regression.
    :param algorithms: what the request names; ``None`` or empty for all (R57).
    :param max_candidates: MaxCandidates; ``None`` for 26.
    :param seconds: time for the training, ``None`` for no limit.
    :param seconds_per_model: MaxRuntimePerTrainingJobInSeconds.
    :param threads: cores that the job may keep busy.
    :param memory_limit: bytes that the job may use, ``None`` for no limit.
    :param crossed: whether models are cross-validated on all rows.
    :param objective: metric to optimize.
    :raises JobFailure: none of the algorithms can be trained here.
    """
    ample = (seconds is None or seconds >= _AMPLE_SECONDS) and may_cross(
        rows, features, classes, seconds, threads, _AMPLE
    )
    wanted = list(dict.fromkeys(algorithms or ALGORITHMS))
    if not algorithms and not ample:
        wanted = [name for name in wanted if name not in _NEURAL[_many(classes, rows) :]]
    lacking = {name: missing(ALGORITHMS[name][1]) for name in wanted}
    usable = [ALGORITHMS[name][0] for name in wanted if not lacking[name]]
    if not usable:
        packages = dict.fromkeys(package for needed in lacking.values() for package in needed)
        raise JobFailure(
            f"None of the algorithms {listing(lacking)} can be trained here: {listing(packages)} not installed. "
            "Run `pip install 'airflow-automl[torch]'` where the embedded Autopilot runs."
        )
    usable += [SPARSE] * ("LR" in usable) + [MLP] * (not algorithms)
    candidates = max_candidates or TIMED_CANDIDATES
    stacked = crossed and ample and rows >= _STACKING_ROWS and candidates >= _STACKING_CANDIDATES
    ensemble = candidates > 2
    upper = (candidates - 2) // 3 if stacked else 0
    base = _portfolio(usable, classes, rows, candidates - ensemble - (upper + 1 if stacked else 0))
    own: dict[str, dict[str, Any]] = {key: {**loss} if objective == "MAE" else {} for key, loss in _ABSOLUTE.items()}
    if crossed:
        # In place of the limits that all models have.
        own["GBM"]["ag_args_fit"] = {"max_time_limit_ratio": _LIGHTGBM_FOLD_SHARE}
    limits: dict[str, Any] = {}
    if seconds_per_model is not None:
        limits["max_time_limit"] = seconds_per_model
    if seconds is not None and len(base) > 1:
        limits["max_time_limit_ratio"] = _SHARE / _FOLD_SHARE if crossed else _SHARE
        if crossed:
            own["GBM"]["ag_args_ensemble"] = {"ag.max_time_limit_ratio": _SHARE}
    hyperparameters: dict[Any, Any] = _configurations(base, own)
    if stacked:
        hyperparameters = {1: hyperparameters, 2: _configurations(_portfolio(usable, classes, rows, upper), own)}
    fit: dict[str, Any] = {
        "time_limit": seconds,
        "num_bag_folds": FOLDS if crossed else 0,
        "num_bag_sets": 1,
        "num_stack_levels": int(stacked),
        "dynamic_stacking": False,
        "fit_weighted_ensemble": ensemble and len(base) > 1,
        # Candidates are published with their thresholds when they are trained; AutoGluon would change one later.
        "calibrate": False,
        "calibrate_decision_threshold": False,
        "raise_on_no_models_fitted": False,
        "num_cpus": threads,
        "num_gpus": 0,
    }
    if crossed:
        # The limits are those of a candidate, which is all of its folds; these train one after the other.
        own = {f"ag.{key}": value for key, value in limits.items()}
        fit["ag_args_ensemble"] = {"fold_fitting_strategy": "sequential_local", **own}
        fit["ag_args_fit"] = {"max_time_limit_ratio": _FOLD_SHARE}
    elif limits:
        fit["ag_args_fit"] = limits
    if memory_limit is not None:
        fit["memory_limit"] = memory_limit / (1 << 30)
    return Plan(hyperparameters, fit, {name: packages for name, packages in lacking.items() if packages})


def _many(classes: int, rows: int) -> bool:
    """Return whether boosting takes too long to come first: each of its rounds is a tree for each class."""
    return classes > _MANY_CLASSES and rows <= LARGE


Configuration = tuple[str, dict[str, Any]]
"""AutoGluon's key of an algorithm, and settings of it."""

_EXACT: Configuration = (
    "LR",
    {"C": 1000, "tol": 1e-8, "max_iter": 500, "proc.skew_threshold": None, "ag_args": {"name_suffix": "Exact"}},
)
"""Only this learns a target that is a sum of columns, as totals are: with AutoGluon's defaults, the linear model makes
skewed columns normal first, shrinks its coefficients, and, beside many categories, stops when they are nearly right."""

_ABSOLUTE = {"GBM": {"objective": "regression_l1"}, "XGB": {"objective": "reg:absoluteerror"}}
"""Settings with which boosting learns the median. AutoGluon lets these two learn the mean, which few large values move,
whatever its metric is."""


def _configurations(
    models: Sequence[Configuration], own: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Models in AutoGluon's shape, which trains them in their order.

    :param own: AutoGluon's key of an algorithm → settings of all its models in this job.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for rank, (key, options) in enumerate(models):
        arguments = {**options.get("ag_args", {}), "priority": 1000 - rank}
        found.setdefault(key, []).append({**options, **own.get(key, {}), "ag_args": arguments})
    return found


def _portfolio(usable: Sequence[str], classes: int, rows: int, count: int) -> list[Configuration]:
    """Return ``count`` configurations: one of each algorithm, variants of some, then AutoGluon's own portfolio."""
    forest: dict[str, Any] = {"n_estimators": 100, "min_samples_leaf": 5} if rows > LARGE else {}
    variants: list[Configuration] = [
        ("GBM", {}),
        ("CAT", {}),
        ("XGB", {}),
        (MLP, {}),
        ("LR", {}),
        (SPARSE, {}),
        ("NN_TORCH", {}),
        ("RF", {**forest}),
        ("XT", {**forest}),
        ("FASTAI", {}),
        ("GBM", {"extra_trees": True, "ag_args": {"name_suffix": "XT"}}),
    ]
    if classes:
        variants += [
            ("RF", {**forest, "criterion": "entropy", "ag_args": {"name_suffix": "Entr"}}),
            ("XT", {**forest, "criterion": "entropy", "ag_args": {"name_suffix": "Entr"}}),
        ]
    else:
        variants.append(_EXACT)
    chosen = [entry for entry in variants if entry[0] in usable][:count]
    # These take little time, and of what is linear learn more than all trees together.
    first: list[Configuration] = [("GBM", {}), (MLP, {}), ("LR", {}), (SPARSE, {}), _EXACT]
    # Forests look at no clock, and what they learn of few rows is often of no weight beside the others.
    last = set() if rows > LARGE else {"RF", "XT"}
    if _many(classes, rows):
        first, last = [(MLP, {}), ("NN_TORCH", {}), ("LR", {}), (SPARSE, {}), ("RF", {})], set()
    chosen.sort(key=lambda entry: ([*first, entry].index(entry), entry[0] in last))
    if len(chosen) < count:
        known = [(key, settings(options)) for key, options in chosen]
        more = _more(usable, forest)
        chosen += [entry for entry in more if (entry[0], settings(entry[1])) not in known][: count - len(chosen)]
    return chosen


def settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's hyperparameters without what tells AutoGluon how to train it."""
    return {key: value for key, value in options.items() if not key.startswith("ag_args")}


def _more(usable: Sequence[str], forest: Mapping[str, Any]) -> list[Configuration]:
    """Configurations that AutoGluon found to complement each other on many tables."""
    from autogluon.tabular.configs.hyperparameter_configs import get_hyperparameter_config

    entries = []
    for key, options in get_hyperparameter_config("zeroshot").items():
        for entry in options if isinstance(options, list) else [options]:
            if key not in usable or not isinstance(entry, dict):
                continue
            arguments = entry.get("ag_args", {})
            # Those that are for some problem types only are forests with another criterion, which are variants here.
            if "problem_types" not in arguments:
                more = forest if key in {"RF", "XT"} else {}
                entries.append((-arguments.get("priority", 0), key, {**entry, **more}))
    entries.sort(key=lambda entry: (entry[0], entry[1]))
    return [(key, options) for _, key, options in entries]
