"""What AutoML jobs cost, by prices that the user gives, and what a DAG may spend.

AWS does not say what a job costs, and prices depend on region, contract and time: this package ships none. A table in
the connection's extra (``automl.prices``) or in ``[automl] prices`` says what an hour costs::

    {"currency": "USD", "job": 0.23, "default": 2.30, "TextGeneration": 7.09}

A job costs its run time at the price ``job``, for what runs besides training (0 if it is left out), and the training
time of all its candidates at the price of its problem type, or ``default``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

from airflow_automl.contract import documents, metrics, states
from airflow_automl.contract.values import TABULAR_PROBLEM_TYPES
from airflow_automl.contract.wording import counted, kind, show, unknown
from airflow_automl.exceptions import AutoMLAccessDenied, AutoMLBudgetExceeded, AutoMLValidationError
from airflow_automl.naming import may_be_of, submitter, tag_value
from airflow_automl.times import moment
from airflow_automl.waiting import retrying_in_worker

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook
    from airflow_automl.naming import TaskGeneration

PERIODS = ("run", "month")
_PRICES = ("default", "job", "Tabular", *metrics.OBJECTIVES)
#: How long to try again after transient errors to read what was spent, in seconds for each job.
_RETRY_SECONDS = 60.0


class Cost(TypedDict):
    """An amount of money; the currency is empty if the prices name none."""

    amount: float
    currency: str


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def price_problems(given: Any) -> list[str]:
    """Return what is wrong with a table of prices."""
    if not isinstance(given, Mapping):
        return [f"prices: expected an object, received {kind(given)}"]
    problems = []
    for name, value in given.items():
        if name not in (*_PRICES, "currency"):
            problems.append(f"prices.{name} {unknown(name, (*_PRICES, 'currency'))}")
        elif name == "currency" and not isinstance(value, str):
            problems.append(f"prices.currency: expected text such as USD, received {show(value)}")
        elif name != "currency" and not _is_amount(value):
            problems.append(f"prices.{name}: expected a price for an hour of at least 0, received {show(value)}")
    if "default" not in given:
        problems.append("prices.default: is missing; give what an hour of training costs")
    return problems


def cost(
    prices: Mapping[str, Any] | None, problem_type: str | None, run: float | None, training: float | None
) -> Cost | None:
    """Return what a job costs; ``None`` without prices.

    :param prices: the table.
    :param problem_type: the job's, as in its document.
    :param run: seconds that the job runs.
    :param training: seconds that all its candidates train.
    """
    if not prices:
        return None
    names = (problem_type or "default", "Tabular" if problem_type in TABULAR_PROBLEM_TYPES else "default", "default")
    price = next(prices[name] for name in names if name in prices)
    amount = ((run or 0.0) * prices.get("job", 0.0) + (training or 0.0) * price) / 3600
    return {"amount": amount, "currency": prices.get("currency", "")}


def cost_text(value: Any) -> str:
    """Return a cost as people read it, such as ``12.30 USD``; an en dash if it is none."""
    if not isinstance(value, Mapping) or not _is_amount(value.get("amount")):
        return "\N{EN DASH}"
    amount = value["amount"]
    number = f"{amount:,.2f}" if amount >= 0.1 or amount == 0 else f"{amount:.2g}"
    return f"{number} {value.get('currency', '')}".strip()


def costed_summary(
    hook: SageMakerAutoMLHook, describe: Mapping[str, Any], timeline: Sequence[Any] = ()
) -> Mapping[str, Any] | None:
    """Return the summary of a job's report, with its ``cost`` until now; ``None`` without prices.

    Operation: ListCandidatesForAutoMLJob.

    :param timeline: the statuses that the job was seen in; without it, a wait for a slot counts as run time.
    """
    if (prices := hook.prices) is None:
        return None
    from airflow_automl.report import build

    candidates = hook.list_candidates(str(describe["AutoMLJobName"]))
    report = build(describe, candidates, timeline=timeline, prices=prices, queues=bool(timeline) and not hook.is_aws)
    summary: Mapping[str, Any] = report["summary"]
    return summary


def read_budget(given: Any, *, rendered: bool = True) -> dict[str, float]:
    """Read ``max_cost``.

    :param given: period → amount, a number or its text; ``None`` for no budget.
    :param rendered: whether all templates in it are rendered; else, only what is none is read.
    :raises AutoMLValidationError: it is something else, or names an unknown period.
    """
    if given is None or not (rendered or isinstance(given, Mapping | int | float)):
        return {}
    if not isinstance(given, Mapping):
        raise _refused(f"max_cost: expected a dict such as {{'run': 20, 'month': 200}}, received {show(given)}")
    budget, problems = {}, []
    for period, value in given.items():
        amount: Any = value
        if isinstance(value, str):
            with suppress(ValueError):
                amount = float(value)
        if period not in PERIODS:
            problems.append(f"max_cost.{period} {unknown(period, PERIODS)}")
        elif not rendered and not isinstance(value, int | float):
            continue
        elif not _is_amount(amount):
            problems.append(f"max_cost.{period}: expected a number of at least 0, received {show(value)}")
        else:
            budget[str(period)] = float(amount)
    if problems:
        raise _refused(*problems)
    return budget


def demand_budget(
    hook: SageMakerAutoMLHook,
    budget: Mapping[str, float],
    request: Mapping[str, Any],
    task: TaskGeneration,
    run_started: datetime | None,
    log: Logger,
) -> None:
    """Check that a job fits into the budget of its DAG, before it is submitted.

    What was spent is read from AWS: every job counts that the DAG submitted in the run, or in this calendar month
    (UTC), however it ended. The job itself, and each one that still runs, is taken to use its whole runtime limit with
    one candidate in training.

    Operations: ListAutoMLJobs; for each job of the DAG ListTags, DescribeAutoMLJobV2, ListCandidatesForAutoMLJob.

    :param budget: period → the most that may be spent.
    :param request: what is to be submitted.
    :param run_started: when the DAG run started.
    :raises AutoMLBudgetExceeded: it does not fit.
    :raises AutoMLValidationError: there are no prices, or the job has no runtime limit.
    :raises AutoMLAccessDenied: AWS refuses to list the jobs.
    """
    prices = hook.prices
    if prices is None:
        raise _refused(
            "max_cost: there are no prices. Set automl.prices in the extra of the AWS connection "
            f"{hook.aws_conn_id!r}, or [automl] prices in Airflow's configuration"
        )
    projected = _projection(request, prices)
    if projected is None:
        raise _refused(
            "max_cost: a job without a runtime limit has no cost ceiling. Set max_runtime "
            "(MaxAutoMLJobRuntimeInSeconds), or [automl] max_runtime"
        )
    now = datetime.now(UTC)
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    spent: dict[str, list[float]] = {period: [] for period in PERIODS}
    for created, run_id, amount in _spent(hook, task.dag_id, min(month, run_started or month), prices):
        if run_id == tag_value(task.run_id):
            spent["run"].append(amount)
        if created >= month:
            spent["month"].append(amount)
    when = {"run": f"run {task.run_id}", "month": f"{now:%B %Y} (UTC)"}
    exceeded = []
    for period, most in budget.items():
        used, jobs = sum(spent[period]), counted(len(spent[period]), "job")
        said = (
            f"DAG {task.dag_id} has spent {_money(used, prices)} in {when[period]} on {jobs}, this job may cost "
            f"{_money(projected, prices)}, and max_cost for a {period} is {_money(most, prices)}"
        )
        log.info("%s", said)
        if used + projected > most:
            exceeded.append(said)
    if exceeded:
        raise AutoMLBudgetExceeded(
            f"The job was not submitted: {'; '.join(exceeded)}. Lower the job's runtime limit "
            "(MaxAutoMLJobRuntimeInSeconds), raise max_cost, or wait for the next month"
        )


def _spent(
    hook: SageMakerAutoMLHook, dag_id: str, since: datetime, prices: Mapping[str, Any]
) -> Iterator[tuple[datetime, str, float]]:
    """Yield each job that a DAG submitted since then: when, in which run, and what it costs."""
    for row in retrying_in_worker(hook, lambda: list(hook.list_jobs(modified_after=since)), _RETRY_SECONDS):
        created = moment(row["CreationTime"])
        if created is None or created < since or not may_be_of(row["AutoMLJobName"], dag_id):
            continue
        found = retrying_in_worker(hook, partial(_cost_in_dag, hook, row, dag_id, prices), _RETRY_SECONDS)
        if found:
            yield created, *found


def _cost_in_dag(
    hook: SageMakerAutoMLHook, row: Mapping[str, Any], dag_id: str, prices: Mapping[str, Any]
) -> tuple[str, float] | None:
    """Return the run of a job, and what it costs; ``None`` if another DAG, or none, submitted it."""
    tags = hook.read_tags(row["AutoMLJobArn"])
    if tags is None:
        raise AutoMLAccessDenied(
            f"max_cost can't be checked: sagemaker:ListTags is denied for {row['AutoMLJobArn']}, and the tags of a job "
            "name its DAG. Allow it, or remove max_cost"
        )
    task = submitter(tags, row["AutoMLJobName"])
    if task is None or task.dag_id != tag_value(dag_id):
        return None
    describe = hook.describe_job(row["AutoMLJobName"])
    amount = ((costed_summary(hook, describe) or {}).get("cost") or {}).get("amount", 0.0)
    if describe["AutoMLJobStatus"] == states.JobStatus.IN_PROGRESS:
        amount = max(amount, _projection(describe, prices) or 0.0)
    return task.run_id, amount


def _projection(job: Mapping[str, Any], prices: Mapping[str, Any]) -> float | None:
    """Return what a request, or a job, costs at its runtime limit; ``None`` if it has none."""
    from airflow_automl.report.document import runtime_limit

    # A job that only generates candidate definitions has no limit and trains nothing.
    limit = runtime_limit(job) or (0.0 if states.definitions_only(job) else None)
    found = None if limit is None else cost(prices, documents.problem_type(job), limit, limit)
    return found["amount"] if found else None


def _money(amount: float, prices: Mapping[str, Any]) -> str:
    return cost_text({"amount": amount, "currency": prices.get("currency", "")})


def _refused(*problems: str) -> AutoMLValidationError:
    return AutoMLValidationError("max_cost", problems)
