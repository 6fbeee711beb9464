"""A whole pipeline in one call: evaluate, decide, train, gate, deploy, report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from airflow.sdk import TaskGroup, task_group

from airflow_automl.contract import documents
from airflow_automl.contract.wording import unknown
from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.operators import (
    SageMakerAutoMLDeployOperator,
    SageMakerAutoMLEvaluateOperator,
    SageMakerAutoMLGateOperator,
    SageMakerAutoMLJobOperator,
    SageMakerAutoMLReportOperator,
    SageMakerAutoMLRetrainOperator,
)
from airflow_automl.xcom import xcom_arg

__all__ = ["STEPS", "automl_pipeline"]

STEPS = ("evaluate", "decide", "train", "challenger", "gate", "deploy", "report")
_MAPPED = ("config", "endpoint_name", "evaluation_data", "report_path")


def automl_pipeline(
    config: Any = None,
    *,
    group_id: str = "automl",
    endpoint_name: Any = None,
    evaluation_data: Any = None,
    report_path: Any = None,
    require: Mapping[str, Any] | None = None,
    retrain: Mapping[str, Any] | None = None,
    before: Mapping[str, Callable[[dict[str, Any]], Any]] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    over: Any = None,
    keys: Sequence[str] = ("config", "endpoint_name"),
    **common: Any,
) -> TaskGroup:
    """Make the tasks of a pipeline, in a task group.

    - ``evaluate`` scores the deployed model on ``evaluation_data``. Omitted without endpoint or data.
    - ``decide`` skips the rest, except ``report``, if the deployed model need not be replaced. Omitted without
      endpoint, and if there is neither ``evaluation_data`` nor ``retrain``.
    - ``train`` trains.
    - ``challenger`` scores the new model on ``evaluation_data``, by a batch transform. Omitted if ``evaluate`` is, and
      if ``config`` names validation data.
    - ``gate`` lets a model pass that meets ``require`` and beats the deployed one. Omitted without endpoint, if
      nothing is required.
    - ``deploy`` deploys. Omitted without endpoint.
    - ``report`` reports, however the run ends. Omitted without ``report_path``.

    Each task is an ordinary operator of :mod:`airflow_automl.operators`, in the group under the id above. The gate
    compares both models on the same rows: on the validation data of ``config`` if it names some (the deployed model is
    asked about them), else on ``evaluation_data``.

    :param config: the job's request, as for :class:`~airflow_automl.operators.SageMakerAutoMLJobOperator`; of any
        problem type.
    :param group_id: the group's id.
    :param endpoint_name: the endpoint to deploy to.
    :param evaluation_data: labelled rows that the model has not learned from, such as those of last week.
    :param report_path: where the report goes.
    :param require: bounds on the new model's metrics, as for the gate.
    :param retrain: when to train: the arguments ``require``, ``max_drop``, ``max_age``, ``min_new_data`` and
        ``training_data`` of :class:`~airflow_automl.operators.SageMakerAutoMLRetrainOperator`. Default: if the deployed
        model has become worse by more than chance explains.
    :param before: task id → function that makes what runs before that task, such as a check of the data before
        ``train``, or a person's approval before ``deploy``. It gets the tasks that exist, by their ids, and returns a
        task, a task group, or a list of them, which may be empty.
    :param options: task id → further arguments of its operator; they win over everything else.
    :param over: map the group: a list of dicts, or the output of a task that returns one. Each dict has values for some
        of ``config``, ``endpoint_name``, ``evaluation_data`` and ``report_path``, the same ones in all dicts.
    :param keys: which of them, if ``over`` is the output of a task.
    :param common: arguments of all operators, such as ``aws_conn_id`` or ``pool``. ``deferrable`` (default: ``True``),
        ``poll_interval`` and ``timeout`` go to those that wait.
    :return: the group; ``group.get_child_by_label("train")`` is one of its tasks.
    :raises AutoMLValidationError: ``before`` or ``options`` names no task; ``config`` is missing.
    """
    waits = {"deferrable": common.pop("deferrable", True)}
    waits |= {key: common.pop(key) for key in ("poll_interval", "timeout") if key in common}
    problems = [
        f"{argument}: {name} {unknown(name, STEPS)}"
        for argument, given in (("before", before), ("options", options))
        for name in given or ()
        if name not in STEPS
    ]
    given = {"config": config, "endpoint_name": endpoint_name}
    given |= {"evaluation_data": evaluation_data, "report_path": report_path}
    mapped = set[str]()
    if over is not None:
        literal = over if isinstance(over, list | tuple) else ()
        mapped = set(literal[0]) if literal else set(keys)
        if any(set(each) != mapped for each in literal):
            problems.append("over: the dicts have different keys; call automl_pipeline once for each set of keys")
        problems += [f"over: {name} {unknown(name, _MAPPED)}" for name in sorted(mapped) if name not in _MAPPED]
    if config is None and "config" not in mapped:
        problems.append("config: is not given; pass what tabular() or one of its siblings returns")
    if problems:
        raise AutoMLValidationError("automl_pipeline", problems)
    made = _Tasks(require, retrain, before or {}, options or {}, common, waits)
    if over is None:
        with TaskGroup(group_id) as group:
            made.make(**given)
        return group
    shared = {name: value for name, value in given.items() if name not in mapped}
    return cast("TaskGroup", task_group(group_id=group_id)(made.make).partial(**shared).expand_kwargs(over))


@dataclass
class _Tasks:
    require: Mapping[str, Any] | None
    retrain: Mapping[str, Any] | None
    before: Mapping[str, Callable[[dict[str, Any]], Any]]
    options: Mapping[str, Mapping[str, Any]]
    common: Mapping[str, Any]
    waits: Mapping[str, Any]
    tasks: dict[str, Any] = field(default_factory=dict)

    def make(self, config: Any, endpoint_name: Any, evaluation_data: Any, report_path: Any) -> None:
        evaluates = endpoint_name is not None and evaluation_data is not None
        if evaluates:
            settings: dict[str, Any] = {"endpoint_name": endpoint_name, "data": evaluation_data}
            self._add("evaluate", SageMakerAutoMLEvaluateOperator, **settings)
        if evaluates or (endpoint_name is not None and self.retrain):
            evaluation = self.tasks["evaluate"].output if evaluates else None
            settings = {"endpoint_name": endpoint_name, "evaluation": evaluation, **(self.retrain or {})}
            self._add("decide", SageMakerAutoMLRetrainOperator, **settings)
        train = self._add("train", SageMakerAutoMLJobOperator, **self.waits, config=config)
        trained = {"candidate": train.best_candidate, "job": train.job}
        validation = _validation_data(config)
        if evaluates and not validation:
            settings = {**self.waits, **trained, "data": evaluation_data}
            self._add("challenger", SageMakerAutoMLEvaluateOperator, **settings)
        if endpoint_name is not None or self.require:
            settings = {**trained, "require": self.require, "champion": endpoint_name}
            if "challenger" in self.tasks:
                settings["evaluation"] = self.tasks["challenger"].output
                settings["champion_evaluation"] = self.tasks["evaluate"].output
            elif endpoint_name is not None:
                settings["champion_data"] = validation
                if isinstance(config, Mapping) and "TextGenerationJobConfig" in (
                    config.get("AutoMLProblemTypeConfig") or {}
                ):
                    # These jobs have no objective that the gate could name.
                    settings["metric"] = "ValidationLoss"
            self._add("gate", SageMakerAutoMLGateOperator, **settings)
        if endpoint_name is not None:
            settings = {**self.waits, **trained, "endpoint_name": endpoint_name, "response": "all"}
            self._add("deploy", SageMakerAutoMLDeployOperator, **settings)
        if report_path is not None:
            said = {"evaluation": "evaluate", "decision": "decide", "gate": "gate", "deployment": "deploy"}
            found = {
                key: xcom_arg(self.tasks[name], "return_value") for key, name in said.items() if name in self.tasks
            }
            settings = {"job": train.job, **found, "path": report_path}
            # A teardown always runs and does not decide the run's state: a failed training fails the run.
            self._add("report", SageMakerAutoMLReportOperator, **settings).as_teardown()

    def _add(self, name: str, operator: Any, **arguments: Any) -> Any:
        before = list(self.tasks.values())[-1:]
        if name in self.before:
            made = self.before[name](dict(self.tasks))
            made = list(made) if isinstance(made, list | tuple) else [made]
            for each in before:
                each >> made
            before = made or before
        task = operator(task_id=name, **{**self.common, **arguments, **self.options.get(name, {})})
        for each in before:
            each >> task
        self.tasks[name] = task
        return task


def _validation_data(config: Any) -> str | None:
    """Return the address of the validation data of a request, if the request is known."""
    if not isinstance(config, Mapping):
        return None
    for channel in documents.channels(config):
        source = documents.s3_source(channel)
        if channel.get("ChannelType") == "validation" and source.get("S3DataType") != "ManifestFile":
            return source.get("S3Uri")
    return None
