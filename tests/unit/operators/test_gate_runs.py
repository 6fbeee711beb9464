"""What a gate's decision does to a run, in Airflow itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import DAG, TaskGroup, task, task_group
from airflow.utils.dag_cycle_tester import check_cycle

from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.operators import SageMakerAutoMLGateOperator, SageMakerAutoMLRegisterOperator
from tests.unit.operators.conftest import make_candidate

RunDag = Callable[..., Any]

GOOD, BAD = {"candidate": make_candidate("good", 0.9)}, {"candidate": make_candidate("bad", 0.5)}


def states(run: Any) -> dict[str, str]:
    """Return the end of each task instance, by the last part of its task's id and its map index."""
    return {
        f"{ti.task_id.rpartition('.')[2]}{'' if ti.map_index < 0 else f'[{ti.map_index}]'}": str(ti.state)
        for ti in run.get_task_instances()
    }


@task
def deploy(candidate: Any) -> str:
    return str(candidate["CandidateName"])


@task
def note(**_: Any) -> None:
    return None


def gate(candidate: Any, **settings: Any) -> SageMakerAutoMLGateOperator:
    return SageMakerAutoMLGateOperator(task_id="gate", candidate=candidate, require={"AUC": 0.8}, **settings)


@pytest.mark.parametrize("expansion", ["literal", "xcom"])
def test_a_rejection_in_a_mapped_group_skips_its_own_map_index_only(run_dag: RunDag, expansion: str) -> None:
    with DAG(f"mapped_{expansion}") as dag:

        @task
        def candidates() -> list[dict[str, Any]]:
            return [GOOD, BAD]

        @task_group
        def segment(candidate: Any) -> None:
            passed, deployed = gate(candidate), deploy(candidate)
            passed >> deployed >> note.override(task_id="use")()
            passed >> note.override(task_id="min_one", trigger_rule="none_failed_min_one_success")()
            deployed >> note.override(task_id="report", trigger_rule="all_done")()
            removed = note.override(task_id="remove")().as_teardown(setups=note.override(task_id="make")())
            passed >> removed

        segment.expand_kwargs([GOOD, BAD] if expansion == "literal" else candidates())
    run = run_dag(dag)
    found = states(run)
    assert run.state == "success"
    assert found.pop("candidates", "success") == "success"
    assert found.pop("gate[1]") == ("success" if expansion == "literal" else "skipped")
    assert found == {
        "gate[0]": "success",
        "deploy[0]": "success",
        "deploy[1]": "skipped",
        "use[0]": "success",
        "use[1]": "skipped",
        "min_one[0]": "success",
        "min_one[1]": "skipped",
        "report[0]": "success",
        "report[1]": "success",
        "make[0]": "success",
        "make[1]": "success",
        "remove[0]": "success",
        "remove[1]": "success",
    }


def test_a_branch_in_a_group_that_is_mapped_over_xcoms_is_an_import_error() -> None:
    with DAG("branch") as dag:

        @task
        def candidates() -> list[dict[str, Any]]:
            return [GOOD, BAD]

        @task_group
        def segment(candidate: Any) -> None:
            gate(candidate, on_reject="segment.notify") >> [note.override(task_id="notify")(), deploy(candidate)]

        segment.expand_kwargs(candidates())
    with pytest.raises(AutoMLValidationError, match="mapped over XComs"):
        check_cycle(dag)


@pytest.mark.parametrize("on_reject", ["fail", "segment.notify", "segment.rejected"])
def test_every_form_of_rejection_holds_in_a_mapped_group(run_dag: RunDag, on_reject: str) -> None:
    with DAG(f"forms_{on_reject.replace('.', '_')}") as dag:

        @task_group
        def segment(candidate: Any) -> None:
            passed = gate(candidate, on_reject=on_reject)
            passed >> deploy(candidate) >> note.override(task_id="teardown")().as_teardown()
            if on_reject == "segment.rejected":
                with TaskGroup("rejected") as rejected:
                    note.override(task_id="notify")()
                passed >> rejected
            else:
                passed >> note.override(task_id="notify")()

        segment.expand_kwargs([GOOD, BAD])
    found = states(run_dag(dag))
    branches = on_reject != "fail"
    assert found["deploy[0]"] == "success"
    assert found["notify[0]"] == ("skipped" if branches else "success")
    assert found["gate[1]"] == ("success" if branches else "failed")
    assert found["deploy[1]"] == ("skipped" if branches else "upstream_failed")
    assert found["notify[1]"] == ("success" if branches else "upstream_failed")


def test_a_teardown_directly_after_a_rejecting_gate_runs(run_dag: RunDag) -> None:
    with DAG("teardown") as dag:
        made = note.override(task_id="make")().as_setup()
        passed = gate(BAD["candidate"])
        made >> passed >> deploy(BAD["candidate"])
        passed >> note.override(task_id="remove")().as_teardown(setups=made)
    found = states(run_dag(dag))
    assert (found["deploy"], found["remove"]) == ("skipped", "success")


def test_a_cleared_task_of_ours_after_a_rejection_in_a_mapped_group_skips_itself() -> None:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    from airflow_automl.compat import AirflowSkipException
    from tests.fakes import fake

    with DAG("cleared"):

        @task_group
        def segment(candidate: Any) -> None:
            gate(candidate) >> SageMakerAutoMLRegisterOperator(task_id="register", group="g", candidate=candidate)

        group = segment.expand_kwargs([GOOD, BAD])
    register = group.children["segment.register"]
    decisions = {1: {"skipped": ["segment.register"]}}
    for index in (0, 1):
        ti = fake(
            RuntimeTaskInstance,
            map_index=index,
            xcom_pull=lambda task_ids, key, map_indexes: decisions.get(map_indexes),
        )
        if index == 0:
            register.pre_execute({"ti": ti})  # type: ignore[union-attr]
        else:
            with pytest.raises(AirflowSkipException, match=r"segment\.gate"):
                register.pre_execute({"ti": ti})  # type: ignore[union-attr]
