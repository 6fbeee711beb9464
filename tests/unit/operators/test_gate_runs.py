"""The effect of a gate's decision on a run, in Airflow itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator, TaskGroup, task, task_group
from airflow.utils.dag_cycle_tester import check_cycle

from airflow_automl.operators import (
    SageMakerAutoMLApproveOperator,
    SageMakerAutoMLGateOperator,
    SageMakerAutoMLRegisterOperator,
)
from tests.hosting import HostingStandIn
from tests.unit.operators.conftest import make_candidate

RunDag = Callable[..., Any]

GOOD, BAD = {"candidate": make_candidate("good", 0.9)}, {"candidate": make_candidate("bad", 0.5)}


def states(run: Any) -> dict[str, str]:
    """Return the end of each task instance, by the last part of its task's id and its map index."""
    return {
        f"{ti.task_id.rpartition('.')[2]}{'' if ti.map_index < 0 else f'[{ti.map_index}]'}": str(ti.state)
        for ti in run.get_task_instances()
        if ti.state != "removed"  # Airflow 3.0 keeps the task instance from before the expansion of the mapped task
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
    assert found == {
        "gate[0]": "success",
        "gate[1]": "success",
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


@pytest.mark.parametrize(
    ("on_reject", "expansion"),
    [
        ("fail", "xcom"),
        ("segment.notify", "literal"),
        ("segment.rejected", "xcom"),
        pytest.param("fail", "literal", marks=pytest.mark.slow),
        pytest.param("segment.notify", "xcom", marks=pytest.mark.slow),
        pytest.param("segment.rejected", "literal", marks=pytest.mark.slow),
    ],
)
def test_every_form_of_rejection_holds_in_a_mapped_group(run_dag: RunDag, on_reject: str, expansion: str) -> None:
    with DAG(f"forms_{on_reject.replace('.', '_')}_{expansion}") as dag:

        @task
        def candidates() -> list[dict[str, Any]]:
            return [GOOD, BAD]

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

        segment.expand_kwargs([GOOD, BAD] if expansion == "literal" else candidates())
    found = states(run_dag(dag))
    branches = on_reject != "fail"
    assert found["deploy[0]"] == "success"
    assert found["notify[0]"] == ("skipped" if branches else "success")
    assert found["gate[1]"] == ("success" if branches else "failed")
    assert found["deploy[1]"] == ("skipped" if branches else "upstream_failed")
    assert found["notify[1]"] == ("success" if branches else "upstream_failed")


def test_a_persons_rejection_in_a_mapped_group_skips_its_own_map_index_only(
    run_dag: RunDag, hosting: HostingStandIn, context: dict[str, Any], job: dict[str, Any]
) -> None:
    register = SageMakerAutoMLRegisterOperator(task_id="r", group="churn", candidate=GOOD["candidate"], job=job)
    arn = register.execute(context)["model_package_arn"]
    with DAG("approved") as dag:

        @task
        def answers() -> list[dict[str, Any]]:
            return [{"chosen_options": ["Approve"]}, {"chosen_options": ["Reject"]}]

        @task_group
        def segment(answer: Any) -> None:
            decided = SageMakerAutoMLApproveOperator(task_id="decide", model_package=arn, answer=answer)
            decided >> note.override(task_id="deploy")()
            decided >> note.override(task_id="remove")().as_teardown()

        segment.expand(answer=answers())
    found = states(run_dag(dag))
    assert (found["decide[0]"], found["deploy[0]"]) == ("success", "success")
    assert (found["decide[1]"], found["deploy[1]"]) == ("success", "skipped")
    assert (found["remove[0]"], found["remove[1]"]) == ("success", "success")


def test_a_teardown_directly_after_a_rejecting_gate_runs(run_dag: RunDag) -> None:
    with DAG("teardown") as dag:
        made = note.override(task_id="make")().as_setup()
        passed = gate(BAD["candidate"])
        made >> passed >> deploy(BAD["candidate"])
        passed >> note.override(task_id="remove")().as_teardown(setups=made)
    found = states(run_dag(dag))
    assert (found["deploy"], found["remove"]) == ("skipped", "success")


def test_a_task_after_a_rejection_in_a_mapped_group_skips_itself_if_it_begins() -> None:
    """A cleared one, or one whose instance did not exist when the gate decided."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    from airflow_automl.compat import AirflowSkipException
    from tests.fakes import fake

    before: list[Any] = []
    with DAG("cleared") as dag:

        @task_group
        def segment(candidate: Any) -> None:
            passed = gate(candidate)
            passed >> BaseOperator(task_id="foreign", pre_execute=before.append)
            passed >> note.override(task_id="remove")().as_teardown()

        group = segment.expand_kwargs([GOOD, BAD])
    check_cycle(dag)
    check_cycle(dag)
    foreign, remove = group.children["segment.foreign"], group.children["segment.remove"]
    decisions = {1: {"skipped": ["segment.foreign"]}}
    contexts = [
        {
            "ti": fake(
                RuntimeTaskInstance,
                map_index=index,
                xcom_pull=lambda task_ids, key, map_indexes: decisions.get(map_indexes),
            )
        }
        for index in (0, 1)
    ]
    foreign._pre_execute_hook(contexts[0])  # type: ignore[union-attr,misc,arg-type]
    assert before == [contexts[0]]
    with pytest.raises(AirflowSkipException, match=r"segment\.gate"):
        foreign._pre_execute_hook(contexts[1])  # type: ignore[union-attr,misc,arg-type]
    assert remove._pre_execute_hook is None  # type: ignore[union-attr]
