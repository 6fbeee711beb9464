"""What operators share that decide whether the tasks directly downstream run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from airflow_automl.compat import AirflowSkipException, DownstreamTasksSkipped, SkipMixin
from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.operators._base import AutoMLBaseOperator, document_or_name, is_template

if TYPE_CHECKING:
    from airflow.sdk import Context


class BranchingOperator(AutoMLBaseOperator, SkipMixin):
    """An operator whose decision lets the run continue, skips what is directly downstream, or follows a branch.

    Teardowns are never skipped. In a mapped task group a decision is about the tasks of the same map index.
    """

    inherits_from_skipmixin = True
    #: The argument that names the tasks to follow a rejection; without it, the tasks directly downstream are skipped.
    branch_argument: ClassVar[str] = ""
    branch_words: ClassVar[tuple[str, ...]] = ("skip",)

    @property
    def _followed(self) -> Any:
        followed = getattr(self, self.branch_argument) if self.branch_argument else "skip"
        return followed if is_template(followed) else document_or_name(followed, self.branch_argument)

    def check_branch(self) -> None:
        """Raise if the argument names no task directly downstream."""
        if self._followed not in self.branch_words:
            self._branch()

    def follow(self, context: Context, decision: Mapping[str, Any], passed: bool) -> None:
        """Let the run continue, or skip what the decision is against.

        :param decision: the task's return value.
        """
        ti = context["ti"]
        skipped = self._skipped(passed)
        if not skipped:
            return
        # Skipping may raise, which would lose the return value of execute.
        ti.xcom_push(key="return_value", value=dict(decision))
        self.log.info("Skipping %s", ", ".join(task.task_id for task in skipped))
        self._let_downstream_ask()
        self.skip(ti, skipped)
        # For a mapped task, Airflow leaves the tasks after it to the scheduler, which does not find this decision if it
        # was made in a mapped task group (apache/airflow#67265). Those task instances skip themselves when they begin.
        group = self.get_closest_mapped_task_group()
        inside = [
            (task.task_id, ti.map_index)
            for task in skipped
            if group and group.group_id in {each.group_id for each in task.iter_mapped_task_groups()}
        ]
        if inside:
            raise DownstreamTasksSkipped(tasks=inside)  # type: ignore[no-untyped-call]

    def _skipped(self, passed: bool) -> list[Any]:
        """Return the tasks directly downstream that a decision skips; teardowns never are."""
        if self._followed == "fail":
            return []
        if self._followed == "skip":
            skipped = set() if passed else set(self.downstream_task_ids)
        else:
            branch = self._branch()
            followed = self.downstream_task_ids - branch if passed else branch
            # A task that is also downstream of a followed one runs, as with Airflow's own branch operators.
            joins = [self.dag.get_task(each).get_flat_relative_ids(upstream=False) for each in followed]
            skipped = self.downstream_task_ids - followed.union(*joins)
        return [task for each in sorted(skipped) if not (task := self.dag.get_task(each)).is_teardown]

    def _branch(self) -> set[str]:
        """Return the ids of the tasks that a rejection follows: those named, and the first ones of groups named.

        :raises AutoMLValidationError: a name of no task or group directly downstream.
        """
        groups, branch, problems = self.dag.task_group_dict, set(), []
        argument, words = self.branch_argument, ", ".join(self.branch_words)
        for name in self._followed if isinstance(self._followed, list | tuple | set) else [self._followed]:
            group = groups.get(str(name))
            found = {root.task_id for root in group.roots} if group else {str(name)}
            if not found <= self.downstream_task_ids:
                valid = ", ".join(sorted(self.downstream_task_ids)) or "none"
                problems.append(
                    f"{argument}: {name!r} is neither {words}, nor a task or task group directly downstream of "
                    f"{self.task_id}, with its whole id; directly downstream are: {valid}"
                )
            branch |= found
        if problems:
            raise AutoMLValidationError(argument, problems)
        return branch

    def get_direct_relative_ids(self, upstream: bool = False) -> set[str]:
        """Return the ids of the tasks directly upstream or downstream.

        Airflow calls this for every task of a DAG that it has parsed, to find cycles; so it is here that a wrong name
        in the argument becomes an import error, and that tasks in a mapped group learn to ask for the decision.
        """
        if not upstream:
            if not is_template(self._followed):
                self.check_branch()
            self._let_downstream_ask()
        return super().get_direct_relative_ids(upstream)

    def _let_downstream_ask(self) -> None:
        if self.get_closest_mapped_task_group() is None:
            return
        for task in map(self.dag.get_task, self.downstream_task_ids):
            if isinstance(task, BaseOperator) and not task.is_teardown and not _AsksGate.is_in(task, self.task_id):
                task._pre_execute_hook = _AsksGate(task, self.task_id)


class _AsksGate:
    """Runs before a task directly after a gate in a mapped task group; skips it if the gate decided so."""

    def __init__(self, task: Any, gate: str) -> None:
        self.task_id, self.gate, self.before = task.task_id, gate, getattr(task, "_pre_execute_hook", None)

    @classmethod
    def is_in(cls, task: Any, gate: str) -> bool:
        hook = getattr(task, "_pre_execute_hook", None)
        while isinstance(hook, cls):
            if hook.gate == gate:
                return True
            hook = hook.before
        return False

    def __call__(self, context: Context) -> None:
        ti = context["ti"]
        decision = ti.xcom_pull(task_ids=self.gate, key="skipmixin_key", map_indexes=ti.map_index)
        if self.task_id in (decision or {}).get("skipped", ()):
            raise AirflowSkipException(f"Skipped by the decision of {self.gate}")
        if self.before is not None:
            self.before(context)
