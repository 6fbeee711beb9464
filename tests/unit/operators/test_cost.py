"""What jobs cost by the user's prices, and the budget of a DAG."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from airflow_automl import settings
from airflow_automl.cost import cost, cost_text
from airflow_automl.exceptions import (
    AutoMLAccessDenied,
    AutoMLBudgetExceeded,
    AutoMLJobFailed,
    AutoMLTerminalError,
    AutoMLValidationError,
)
from airflow_automl.hooks import SageMakerAutoMLHook
from airflow_automl.hooks.sagemaker_automl import automl_defaults
from airflow_automl.naming import OWNER_TAG, TaskGeneration
from airflow_automl.operators import SageMakerAutoMLJobOperator
from tests.standin import ENDLESS, Job, StandIn, candidate, connection, ends
from tests.unit.operators.test_resuming import V2_RENDERED, TaskRun

#: A minute of training, as long as the stand-in's candidates take, costs 1 USD; an hour, the limit of the jobs, 60.
PRICES = {"currency": "USD", "default": 60.0}


@pytest.fixture
def priced(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", connection(standin.url, automl={"prices": PRICES}))
    return standin


def spent(standin: StandIn, name: str, minutes: int, *, dag: str = "churn", run: str = "other", **more: Any) -> Job:
    """A job of a DAG, whose candidate was trained for so long."""
    tags = {OWNER_TAG: "x", "airflow:dag_id": dag, "airflow:run_id": run}
    job = standin.add_job(name, **{"age": 1.0, "tags": tags, **more})
    found = candidate(name)
    job.candidates = [found | {"EndTime": found["CreationTime"] + 60 * minutes}]
    return job


def created(standin: StandIn) -> int:
    return standin.calls["CreateAutoMLJobV2"]


def test_a_job_costs_its_run_time_and_the_training_of_all_its_candidates() -> None:
    prices = {"currency": "EUR", "job": 1.0, "default": 2.0, "Tabular": 3.0, "TextGeneration": 7.0}
    hours = {"run": 2 * 3600.0, "training": 5 * 3600.0}
    assert cost(prices, "TextGeneration", **hours) == {"amount": 37.0, "currency": "EUR"}
    assert cost(prices, "Regression", **hours) == {"amount": 17.0, "currency": "EUR"}
    assert cost(prices, "SomethingNew", **hours) == {"amount": 12.0, "currency": "EUR"}
    assert cost({"default": 2.0}, None, **hours) == {"amount": 10.0, "currency": ""}
    assert cost(None, "Regression", **hours) is None
    assert [cost_text({"amount": each, "currency": "EUR"}) for each in (1234.5, 0, 0.00123)] == [
        "1,234.50 EUR",
        "0.00 EUR",
        "0.0012 EUR",
    ]
    assert cost_text(None) == cost_text({"amount": "much"}) == "\N{EN DASH}"


def test_the_log_and_the_document_of_a_job_have_its_cost(priced: StandIn, capsys: Any, caplog: Any) -> None:
    task = TaskRun()
    with caplog.at_level(logging.INFO):
        task.attempt()
    assert task.xcoms["job"]["cost"] == {"amount": pytest.approx(1.0), "currency": "USD"}
    assert (
        "cost 1.00 USD: run time 0 s, training time of all candidates 1 min 0 s"
        in capsys.readouterr().out + caplog.text
    )


def test_a_job_that_fails_costs_too(priced: StandIn) -> None:
    priced.plan = lambda request: ends("Failed", "Failed")
    task = TaskRun()
    with pytest.raises(AutoMLJobFailed):
        task.attempt()
    assert task.xcoms["job"]["cost"]["amount"] == pytest.approx(1.0)


def test_without_prices_no_cost_is_shown_and_no_candidates_are_listed(standin: StandIn) -> None:
    task = TaskRun()
    task.attempt()
    assert task.xcoms["job"]["cost"] is None
    assert standin.calls["ListCandidatesForAutoMLJob"] == 0


def test_an_unknown_cost_does_not_fail_a_job(priced: StandIn, capsys: Any, caplog: Any) -> None:
    priced.faults.deny = frozenset({"ListCandidatesForAutoMLJob"})
    task = TaskRun()
    assert task.attempt()
    assert task.xcoms["job"]["cost"] is None
    assert "The cost of AutoML job" in capsys.readouterr().out + caplog.text


def test_prices_of_the_connection_replace_those_of_the_configuration(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__AUTOML__PRICES", json.dumps({"default": 5}))
    assert SageMakerAutoMLHook().prices == {"default": 5}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", connection(standin.url, automl={"prices": PRICES}))
    assert SageMakerAutoMLHook().prices == PRICES


WRONG = {
    "a list": ([1], "expected"),
    "unknown": ({"default": 1, "TextGenaration": 2}, "TextGenaration is unknown; did you mean TextGeneration"),
    "negative": ({"default": -1}, "default: expected a price for an hour of at least 0, received -1"),
    "infinite": ({"default": float("inf")}, "received inf"),
    "a boolean": ({"default": True}, "received True"),
    "no default": ({"Tabular": 2}, "default: is missing"),
    "currency": ({"default": 1, "currency": 3}, "currency: expected text"),
}


@pytest.mark.parametrize(("prices", "said"), WRONG.values(), ids=WRONG)
def test_wrong_prices_are_refused_with_what_is_valid(monkeypatch: pytest.MonkeyPatch, prices: Any, said: str) -> None:
    with pytest.raises(AutoMLValidationError, match=rf"automl\.prices.*{said}"):
        automl_defaults({"automl": {"prices": prices}}, "aws_default")
    monkeypatch.setenv("AIRFLOW__AUTOML__PRICES", json.dumps(prices))
    with pytest.raises(AutoMLValidationError, match=said) as refused:
        settings.prices()
    assert "[automl] prices" in str(refused.value)


def test_wrong_prices_are_reported_before_a_job_is_submitted(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AUTOML__PRICES", "5 dollars")
    with pytest.raises(AutoMLValidationError, match="expected JSON, received '5 dollars'"):
        TaskRun().attempt()
    assert not standin.calls


def test_a_months_budget_counts_every_job_of_the_dag_and_no_other(priced: StandIn) -> None:
    spent(priced, "completed", 10)
    spent(priced, "failed", 5, script=ends("Failed", "Failed"))
    spent(priced, "of-another-dag", 500, dag="prices")
    spent(priced, "of-last-month", 500, age=32 * 24 * 3600.0)
    spent(priced, "nobodys", 500, tags={})
    theirs = TaskGeneration("https://other.example", "churn", "other", "train", -1)
    spent(priced, theirs.job_name("request", 1), 500, tags=theirs.tags("request", 1))
    TaskRun().attempt(max_cost={"month": 75})
    priced.calls.clear()
    task = TaskRun()
    task.started = task.started.replace(year=2025)
    with pytest.raises(AutoMLBudgetExceeded) as refused:
        task.attempt(max_cost={"month": 75})
    said = str(refused.value)
    assert "DAG churn has spent 16.00 USD in" in said
    assert "on 3 jobs, this job may cost 60.00 USD, and max_cost for a month is 75.00 USD" in said
    assert "raise max_cost, or wait for the next month" in said
    assert isinstance(refused.value, AutoMLTerminalError)
    assert created(priced) == 0
    assert task.xcoms["job"]["name"] is None
    assert task.xcoms["job"]["reason"] == said


def test_a_job_that_runs_counts_with_its_runtime_limit(priced: StandIn) -> None:
    job = spent(priced, "runs", 1, script=ENDLESS)
    job.request["AutoMLProblemTypeConfig"] = V2_RENDERED["AutoMLProblemTypeConfig"]
    with pytest.raises(AutoMLBudgetExceeded, match=r"spent 60\.00 USD"):
        TaskRun().attempt(max_cost={"month": 119})
    assert created(priced) == 0


def test_a_runs_budget_counts_the_jobs_of_the_run_alone(priced: StandIn) -> None:
    spent(priced, "same-run", 10, run="manual__1")
    spent(priced, "another-run", 500)
    TaskRun().attempt(max_cost={"run": 70})
    task = TaskRun()
    task.clears = 1
    with pytest.raises(AutoMLBudgetExceeded, match=r"spent 11\.00 USD in run manual__1 on 2 jobs"):
        task.attempt(max_cost={"run": "70", "month": 1e6})


def test_derived_names_of_other_dags_are_not_described(priced: StandIn) -> None:
    spent(priced, "pric-g5x9aqw-k3x7aqw7b2mz-train", 500, dag="prices")
    spent(priced, "chur-g5x7aqw-k3x7aqw7b2mz-train", 1)
    TaskRun().attempt(max_cost={"month": 1000})
    asked = [body["ResourceArn"].rpartition("/")[2] for name, body in priced.requests if name == "ListTags"]
    assert "chur-g5x7aqw-k3x7aqw7b2mz-train" in asked
    assert "pric-g5x7aqw-k3x7aqw7b2mz-train" not in asked


def test_a_retry_continues_with_its_job_although_the_budget_is_used_up(priced: StandIn) -> None:
    task = TaskRun()
    task.attempt(max_cost={"run": 60}, wait_for_completion=False)
    assert task.attempt(max_cost={"run": 60})
    assert len(priced.jobs) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (20, "expected a dict such as"),
        ({"monthly": 20}, r"max_cost.monthly is unknown; did you mean month\?"),
        ({"run": -1}, "max_cost.run: expected a number of at least 0, received -1"),
        ({"run": True}, "received True"),
    ],
)
def test_a_wrong_budget_fails_the_dag_at_parse_time(given: Any, said: str) -> None:
    with pytest.raises(AutoMLValidationError, match=said):
        SageMakerAutoMLJobOperator(task_id="train", config=V2_RENDERED, max_cost=given)


def test_a_rendered_budget_is_checked_before_the_job_is_submitted(priced: StandIn) -> None:
    with pytest.raises(AutoMLValidationError, match="expected a number of at least 0, received 'plenty'"):
        TaskRun().attempt(max_cost={"run": "plenty"})
    with pytest.raises(AutoMLBudgetExceeded):
        TaskRun().attempt(max_cost='{"run": 59}')
    assert created(priced) == 0


def test_a_budget_needs_prices_and_a_runtime_limit(priced: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"TabularJobConfig": {"TargetAttributeName": "y"}}
    with pytest.raises(AutoMLValidationError, match="a job without a runtime limit has no cost ceiling"):
        TaskRun().attempt(max_cost={"run": 1}, config={**V2_RENDERED, "AutoMLProblemTypeConfig": job})
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", connection(priced.url))
    with pytest.raises(AutoMLValidationError, match=r"there are no prices. Set automl.prices .*'aws_default'"):
        TaskRun().attempt(max_cost={"run": 1})
    assert created(priced) == 0


def test_a_budget_that_can_not_be_checked_lets_no_job_through(priced: StandIn) -> None:
    spent(priced, "mine", 1)
    priced.faults.deny = frozenset({"ListTags"})
    with pytest.raises(AutoMLAccessDenied, match="max_cost can't be checked: sagemaker:ListTags is denied"):
        TaskRun().attempt(max_cost={"month": 1000})
    assert created(priced) == 0


def test_a_budget_counts_the_run_time_from_the_creation_of_a_job(
    priced: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = {"currency": "USD", "job": 36.0, "default": 60.0}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", connection(priced.url, automl={"prices": prices}))
    job = spent(priced, "prepares-first", 1, age=1000.0, script=ends("Completed", "Completed", 100.0))
    begun = job.created + 90
    job.candidates = [candidate("prepares-first") | {"CreationTime": begun, "EndTime": begun + 10}]
    with pytest.raises(AutoMLBudgetExceeded, match=r"spent 1\.17 USD"):
        TaskRun().attempt(max_cost={"month": 1})
