"""Whether a candidate is good enough: bounds on its metrics, and the comparison with a champion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airflow_automl.contract import metrics
from airflow_automl.contract.wording import show, unknown
from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.report.scores import Scores

OBJECTIVE = "objective"
METRIC_KEYS = ("FinalAutoMLJobObjectiveMetric", "CandidateProperties")


def number(name: str, value: Any, expected: str = "a number") -> float:
    """Return an argument that is a finite number, also if a template rendered it to text.

    :raises AutoMLValidationError: it is something else.
    """
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if isinstance(value, bool) or not math.isfinite(found):
        raise AutoMLValidationError(name, [f"{name}: is {value!r}; expected {expected}"])
    return found


def evaluated(evaluation: Mapping[str, Any]) -> str:
    """Say on what an evaluation was made."""
    return f"evaluated on {evaluation['rows']} {evaluation['unit']} of {evaluation['data']}"


def metric_name(name: str, candidate: Mapping[str, Any]) -> str:
    """Return a metric's standard name; ``objective`` means the metric that the candidate's job optimised."""
    if name != OBJECTIVE:
        return metrics.standard_name(name)
    objective = metrics.objective_name(candidate)
    if not objective:
        raise AutoMLValidationError("require", ["objective: this candidate names no objective metric; name the metric"])
    return objective


@dataclass(frozen=True)
class Bound:
    name: str
    minimum: float | None
    maximum: float | None

    @classmethod
    def parse(cls, name: str, bound: Any, candidate: Mapping[str, Any]) -> Bound:
        """Read one entry of ``require``; a bare number bounds the metric's bad side."""
        metric = metric_name(name, candidate)
        if isinstance(bound, Mapping):
            low, high = bound.get("min"), bound.get("max")
            return cls(
                metric,
                None if low is None else number(name, low),
                None if high is None else number(name, high),
            )
        value = number(name, bound, "a number, or {'min': number, 'max': number}")
        return cls(metric, None, value) if metrics.direction(metric) == "Minimize" else cls(metric, value, None)

    def broken_by(self, value: float) -> str | None:
        """Say which bound a value breaks."""
        scores = Scores(self.name)
        if self.minimum is not None and value < self.minimum:
            return f"{scores.label} {scores.exact(value)} is below the required {scores.exact(self.minimum)}"
        if self.maximum is not None and value > self.maximum:
            return f"{scores.label} {scores.exact(value)} is above the allowed {scores.exact(self.maximum)}"
        return None

    def met_by(self, value: float) -> str:
        """Say how a value meets the bound."""
        scores = Scores(self.name)
        parts = [f"at least {scores.exact(self.minimum)}"] if self.minimum is not None else []
        parts += [f"at most {scores.exact(self.maximum)}"] if self.maximum is not None else []
        return f"{scores.label} {scores.exact(value)} is {' and '.join(parts)}"


def check_bounds(require: Any) -> None:
    """Check what can be checked before there is a candidate.

    :raises AutoMLValidationError: ``require`` is not a dict, or one of its entries has other keys than ``min`` and
        ``max``, or neither.
    """
    if not isinstance(require, Mapping):
        problem = f"require: expected a dict such as {{'AUC': 0.8}}, received {show(require)}"
        raise AutoMLValidationError("require", [problem])
    problems = []
    for name, bound in require.items():
        if isinstance(bound, Mapping):
            problems += [f"{name}.{key} {unknown(key, ('min', 'max'))}" for key in bound if key not in ("min", "max")]
            if all(limit is None for limit in bound.values()):
                problems.append(f"{name}: is {bound!r}; give min, max or both")
    if problems:
        raise AutoMLValidationError("require", problems)


def read_bounds(require: Mapping[str, Any], candidate: Mapping[str, Any]) -> list[Bound]:
    """Read ``require``.

    :raises AutoMLValidationError: it is not valid for the candidate.
    """
    check_bounds(require)
    return [Bound.parse(name, bound, candidate) for name, bound in require.items()]


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate passes, with the grounds for it."""

    metrics: dict[str, float]
    failures: tuple[str, ...] = ()
    grounds: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.failures

    def also(self, ground: str) -> Verdict:
        return replace(self, grounds=(*self.grounds, ground))

    def against(self, failure: str) -> Verdict:
        return replace(self, failures=(*self.failures, failure))

    def sentence(self, candidate_name: str) -> str:
        """Say the verdict and its reasons in one sentence."""
        if self.failures:
            return f"Candidate {candidate_name} is rejected: {', and '.join(self.failures)}."
        return f"Candidate {candidate_name} passes: {', and '.join(self.grounds) or 'nothing is required'}."


def judge(candidate: Mapping[str, Any], bounds: Sequence[Bound]) -> Verdict:
    """Hold the candidate's metrics against the bounds.

    :raises AutoMLValidationError: a metric that the candidate doesn't have.
    """
    values = metrics.candidate_metrics(candidate)
    missing = [bound.name for bound in bounds if bound.name not in values]
    if missing:
        raise AutoMLValidationError(
            "require",
            [f"{name}: the candidate has no such metric; it has: {', '.join(sorted(values))}" for name in missing],
        )
    verdict = Verdict(values)
    for bound in bounds:
        broken = bound.broken_by(values[bound.name])
        verdict = verdict.against(broken) if broken else verdict.also(bound.met_by(values[bound.name]))
    return verdict


def compare(
    candidate: Mapping[str, Any], champion: Mapping[str, Any], verdict: Verdict, *, metric: str | None, min_gain: Any
) -> tuple[Verdict, dict[str, Any]]:
    """Hold the candidate against a champion's ``{"name", "metrics"}``.

    :param champion: may have a ``hint``: what to do if it does not have the metric.

    :return: the verdict with the comparison in it, and the comparison.
    :raises AutoMLValidationError: a metric that one of the two doesn't have.
    """
    name = metric_name(metric or OBJECTIVE, candidate)
    gain_wanted = number("min_gain", min_gain)
    theirs = {metrics.standard_name(key): value for key, value in champion["metrics"].items()}
    if name not in theirs:
        known = ", ".join(sorted(theirs)) or "none"
        hint = champion.get("hint") or (
            f"deploy it with SageMakerAutoMLDeployOperator, or tag it airflow-automl:metric:{name}"
        )
        raise AutoMLValidationError(
            "champion", [f"champion: {champion['name']} does not name its {name} (it names: {known}); {hint}"]
        )
    if name not in verdict.metrics:
        raise AutoMLValidationError(
            "metric",
            [f"metric: the candidate has no {name}; it has: {', '.join(sorted(verdict.metrics))}"],
        )
    mine, other = verdict.metrics[name], theirs[name]
    gain = (other - mine) if metrics.direction(name) == "Minimize" else (mine - other)
    comparison = {"name": champion["name"], "metric": name, "value": other, "candidate_value": mine, "gain": gain}
    scores = Scores(name)
    wanted = f" (at least {scores.exact(gain_wanted)} is required)" if gain_wanted else ""
    better = (
        f"{scores.label} {scores.exact(mine)} against {scores.exact(other)} of {champion['name']} "
        f"is a gain of {scores.exact(gain)}{wanted}"
    )
    # A gain is a difference of two floats: rounding must not decide.
    enough = gain >= gain_wanted or math.isclose(gain, gain_wanted, rel_tol=1e-9, abs_tol=1e-12)
    return (verdict.also(better) if enough else verdict.against(better)), comparison
