"""Score data in S3 with a candidate: batch transform."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_automl.exceptions import (
    AutoMLError,
    AutoMLJobFailed,
    AutoMLJobStopped,
    AutoMLJobTimeout,
    AutoMLValidationError,
    InvalidTriggerEvent,
    restored,
)
from airflow_automl.naming import TRY_TAG, TaskGeneration
from airflow_automl.operators._base import told_to_end
from airflow_automl.operators._downstream import CandidateOperator, WaitingOperator, document

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_automl.waiting import StopResult

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9-]+")
_LINES = {"SplitType": "Line", "AssembleWith": "Line"}
#: Problem type → content type, and how inputs are split and answers put together again.
_SHAPES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "TimeSeriesForecasting": ("text/csv;header=present", {"SplitType": "None", "AssembleWith": "None"}),
    "ImageClassification": ("application/x-image", {"SplitType": "None", "AssembleWith": "None"}),
    "TextGeneration": ("application/json", {"SplitType": "None", "AssembleWith": "None"}),
}
#: Files of whole series are as large as they are, and forecasts of all of them take their time.
_WHOLE_SERIES: Mapping[str, Any] = {"MaxPayloadInMB": 0, "ModelClientConfig": {"InvocationsTimeoutInSeconds": 3600}}
_RUNNING = frozenset({"InProgress", "Completed"})


class SageMakerAutoMLTransformOperator(CandidateOperator, WaitingOperator):
    """Score everything under an S3 prefix, and wait until the predictions lie in S3.

    A transform job of a derived name belongs to one run of the task: a retry goes on waiting for the job of an earlier
    try, begins anew where that failed, and a clear scores again. The model that it needs is made for it and removed
    when the job has ended. A killed task stops its job.

    Operations: CreateModel, CreateTransformJob, DescribeTransformJob, DeleteModel; AddTags where a retry goes on with a
    job; ListTags and StopTransformJob where one is stopped.

    :param candidate: the candidate's document in AWS's keys, such as ``train.best_candidate`` (templated). ``None``, of
        a job that has no best candidate, raises NoBestCandidate.
    :param job: the job's document, such as ``train.job``; role, KMS, VPC and tags are taken from it (templated).
        Without ``candidate``, its best candidate is asked for.
    :param job_name: the name of an AutoML job (V1 or V2) to ask the service about, instead of ``job`` (templated).
    :param input_path: the S3 prefix or object to score (templated): the columns that the model was trained on, without
        the target.
    :param output_path: the S3 folder for the predictions: one ``<name>.out`` for each object (templated).
    :param content_type: default by problem type: ``text/csv``; images ``application/x-image``; text generation
        ``application/json``; time series ``text/csv;header=present`` with whole series in each object, which is never
        split and may be of any size.
    :param accept: content type of the predictions; default: that of the input.
    :param join: write each input line together with its prediction (CSV and JSON lines only).
    :param response: as for :class:`~airflow_automl.operators.SageMakerAutoMLDeployOperator`.
    :param instance_type: default: the connection's ``automl.instance_type``, else one that can serve the problem type.
    :param instance_count: instances to share the objects among.
    :param transform: other members of CreateTransformJob in AWS's shape, such as ``MaxPayloadInMB`` or
        ``BatchStrategy``; ``TransformInput``, ``TransformOutput`` and ``TransformResources`` are filled in where they
        say nothing.
    :param model: other members of CreateModel in AWS's shape.
    :param role_arn: the role that the model runs with; default: the job's, else the connection's.
    :param tags: further tags, beside the job's own.
    :param wait_for_completion: ``False`` ends the task when the job has begun; its model is then left there.
    :param deferrable: wait in the triggerer, without a worker slot. Default: ``[operators] default_deferrable``.
    :param poll_interval: seconds between two looks. Default: ``[automl] poll_interval`` (30).
    :param timeout: how long to wait at most, 3 hours by default; then the job is stopped. ``None`` waits on.
        ``execution_timeout`` has the same effect, and counts from the start of the task.
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.
    :return: ``{"transform_job_name", "transform_job_arn", "model", "input", "output", "status"}``.
    :raises AutoMLJobFailed: the transform job failed; the message is its FailureReason.
    :raises AutoMLJobStopped: somebody stopped it.
    :raises AutoMLJobTimeout: it took longer than ``timeout`` or ``execution_timeout``.
    :raises AutoMLAccessDenied: AWS refused to describe the job, which is stopped then.
    """

    template_fields = (
        *CandidateOperator.template_fields,
        *("input_path", "output_path", "content_type", "accept", "response", "instance_type", "instance_count"),
        *("transform", "model", "role_arn", "tags"),
    )
    ui_color = "#dae8fc"

    def __init__(
        self,
        *,
        input_path: str,
        output_path: str,
        content_type: str | None = None,
        accept: str | None = None,
        join: bool = False,
        response: Sequence[str] | None = None,
        instance_type: str | None = None,
        instance_count: int | str = 1,
        transform: dict[str, Any] | None = None,
        model: dict[str, Any] | None = None,
        role_arn: str | None = None,
        tags: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_path = input_path
        self.output_path = output_path
        self.content_type = content_type
        self.accept = accept
        self.join = join
        self.response = response
        self.instance_type = instance_type
        self.instance_count = instance_count
        self.transform = transform
        self.model = model
        self.role_arn = role_arn
        self.tags = tags
        self._running: str | None = None
        self._killed = False
        self._try_number = 0

    def execute(self, context: Context) -> dict[str, Any]:
        """Begin, or go on with the job of an earlier try."""
        self._try_number = context["ti"].try_number
        model, transform, readable = self._plan(context)
        for attempt in range(1, 100):
            name = self._name(readable, transform, context, attempt)
            found = self.hook.describe_transform_job(name)
            if found is not None and found["TransformJobStatus"] not in _RUNNING:
                self.log.info("Transform job %s of an earlier try is %s", name, found["TransformJobStatus"])
                continue
            self._running = name
            if found is None:
                self.hook.ensure_model(model)
                self.hook.ensure_transform_job({"TransformJobName": name, **transform})
                self.log.info("Transform job %s scores %s", name, self.input_path)
            else:
                self.log.info("Transform job %s of an earlier try is %s", name, found["TransformJobStatus"])
                if found["TransformJobStatus"] == "InProgress":
                    self._mark_adopted(found["TransformJobArn"])
            break
        else:
            raise AutoMLJobFailed(f"99 transform jobs of this task have failed, the last one is {name}")
        if self._killed:
            # The signal may have come when there was nothing to stop yet.
            self._running = name
            self.on_kill()
            raise told_to_end(f"transform job {name}")
        state = {"model": model["ModelName"]}
        if not self.wait_for_completion:
            self._running = None
            return self._result(self.hook.describe_transform_job(name) or {}, state["model"])
        result: dict[str, Any] = self.wait_for(context, "transform job", name, state)
        return result

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Judge what the job ended with, and remove its model."""
        self._try_number = context["ti"].try_number
        try:
            state = self.settled(event)
        except InvalidTriggerEvent:
            raise
        except AutoMLError as failure:
            assert event is not None  # noqa: S101  # settled() has refused it otherwise
            said = self._give_up(event["name"], event["state"]["model"])
            kind = AutoMLJobTimeout if event["status"] == "timeout" else type(failure)
            raise restored(kind.__name__, f"{failure}; {said}") from None
        assert event is not None  # noqa: S101
        found = self.hook.describe_transform_job(event["name"]) or {}
        self._remove_model(state["model"])
        status = found.get("TransformJobStatus")
        if status == "Completed":
            self.log.info("The predictions are at %s", self.output_path)
            return self._result(found, state["model"])
        if status == "Stopped":
            if self._killed:
                # This task's own doing is no end to judge.
                raise told_to_end(f"transform job {event['name']}")
            raise AutoMLJobStopped(f"transform job {event['name']} was stopped")
        self.show_logs("transform job", event["name"])
        reason = found.get("FailureReason") or "AWS gives no reason; look at the job's logs in CloudWatch"
        raise AutoMLJobFailed(f"transform job {event['name']} is {status}: {reason}")

    def on_kill(self) -> None:
        """Stop the job when the worker is told to end the task, unless a newer try has adopted it."""
        self._killed = True
        name, self._running = self._running, None
        if name is None:
            return
        result = self._stop(name, late=True)
        (self.log.error if result.runs_on else self.log.info)("Transform job %s: %s", name, result.said)

    def _stop(self, name: str, *, late: bool = False) -> StopResult:
        """Stop the job; ``late`` if Airflow kills this process soon."""
        from airflow_automl.waiting import Target, WorkerCalls, in_worker, stop

        target, seconds = Target("transform job", name), 3.0 if late else 60.0
        return in_worker(stop(WorkerCalls(self.hook), target, self._try_number, seconds=seconds, late=late))

    def _mark_adopted(self, arn: str) -> None:
        try:
            self.hook.write_tags(arn, {TRY_TAG: str(self._try_number)})
        except AutoMLError as error:
            # Such as a job that bears as many tags as it can. Waiting for it is worth more than the mark.
            self.log.warning(
                "%s can't be marked as this try's; an older one that still ends may stop it: %s", arn, error
            )

    def _give_up(self, name: str, model: str) -> str:
        """Stop a job that is not waited for any more, and remove its model; return what to say of it."""
        result = self._stop(name)
        if not result.runs_on:  # A job that runs on needs its model.
            self._remove_model(model)
        return result.said

    def _plan(self, context: Context) -> tuple[dict[str, Any], dict[str, Any], str]:
        from airflow_automl.naming import tag_value
        from airflow_automl.operators._version_tags import TAG_CANDIDATE, TAG_JOB
        from airflow_automl.serving import (
            containers_of,
            default_instance_type,
            derived_name,
            encrypts_itself,
            is_accelerated,
            with_response_keys,
        )

        candidate, job = self.resolve()
        job, defaults = job or {}, self.hook.defaults
        problem_type = job.get("problem_type")
        instance = self.instance_type or defaults.get("instance_type")
        instance = instance or default_instance_type(candidate, problem_type)
        containers = with_response_keys(
            containers_of(candidate, accelerated=is_accelerated(instance)), document(self.response, "response") or ()
        )
        role = self.role_arn or job.get("role_arn") or defaults.get("role_arn")
        if not role and not (document(self.model, "model") or {}).get("ExecutionRoleArn"):
            raise AutoMLValidationError(
                "transform",
                ["role_arn: no role to run the model with; pass job=train.job or role_arn=, or put role_arn into the "
                 "connection's extra under automl"],
            )  # fmt: skip
        security = job.get("security") or {}
        own = {TAG_CANDIDATE: candidate["CandidateName"], **({TAG_JOB: job["name"]} if job.get("name") else {})}
        tags = {**(job.get("tags") or {}), **(defaults.get("tags") or {}), **(document(self.tags, "tags") or {}), **own}
        tag_items = [{"Key": key, "Value": tag_value(value)} for key, value in list(tags.items())[:50]]
        readable = (
            _NOT_IN_NAMES.sub("-", str(job.get("name") or candidate["CandidateName"])).strip("-")[:32].rstrip("-")
        )
        body: dict[str, Any] = {"ExecutionRoleArn": role}
        body |= {"PrimaryContainer": containers[0]} if len(containers) == 1 else {"Containers": containers}
        if security.get("VpcConfig"):
            body["VpcConfig"] = copy.deepcopy(security["VpcConfig"])
        body |= document(self.model, "model") or {}
        identity = TaskGeneration.of(context).generation_identity
        model = {"ModelName": derived_name(readable, identity, body), **body, "Tags": tag_items}
        kms = None if encrypts_itself(instance) else security.get("VolumeKmsKeyId")
        transform = self._request(model["ModelName"], problem_type, instance, kms, job)
        transform["Tags"] = tag_items
        self.check_request("CreateModel", model)
        self.check_request("CreateTransformJob", {"TransformJobName": readable, **transform})
        return model, transform, readable

    def _request(
        self, model: str, problem_type: str | None, instance: str, kms: str | None, job: Mapping[str, Any]
    ) -> dict[str, Any]:
        content_type, shape = _SHAPES.get(problem_type or "", ("text/csv", _LINES))
        content_type = self.content_type or content_type
        if self.join and shape is not _LINES:
            raise AutoMLValidationError(
                "transform", [f"join: {problem_type} is not scored line by line, so its inputs can't be joined"]
            )
        given = copy.deepcopy(document(self.transform, "transform") or {})
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": self.input_path}}
        results: dict[str, Any] = {"S3OutputPath": self.output_path, "AssembleWith": shape["AssembleWith"]}
        if accept := self.accept or (content_type.partition(";")[0] if shape is _LINES else None):
            results["Accept"] = accept
        if key := (job.get("output") or {}).get("KmsKeyId"):
            results["KmsKeyId"] = key
        resources: dict[str, Any] = {"InstanceType": instance, "InstanceCount": int(self.instance_count)}
        if kms:
            resources["VolumeKmsKeyId"] = kms
        request: dict[str, Any] = {
            "ModelName": model,
            **(copy.deepcopy(_WHOLE_SERIES) if problem_type == "TimeSeriesForecasting" else {}),
            **given,
            "TransformInput": {
                "DataSource": source,
                "ContentType": content_type,
                "SplitType": shape["SplitType"],
                **given.get("TransformInput", {}),
            },
            "TransformOutput": {**results, **given.get("TransformOutput", {})},
            "TransformResources": {**resources, **given.get("TransformResources", {})},
        }
        if self.join:
            request["DataProcessing"] = {"JoinSource": "Input", **given.get("DataProcessing", {})}
        return request

    def _name(self, readable: str, transform: Mapping[str, Any], context: Context, attempt: int) -> str:
        from airflow_automl.serving import derived_name

        identity = {**TaskGeneration.of(context).generation_identity, "attempt": attempt}
        return derived_name(readable, identity, {key: value for key, value in transform.items() if key != "Tags"})

    def _remove_model(self, name: str) -> None:
        try:
            self.hook.delete_model(name)
        except Exception as error:
            self.log.warning("Model %s was not removed: %s", name, error)

    def _result(self, found: Mapping[str, Any], model: str) -> dict[str, Any]:
        return {
            "transform_job_name": found.get("TransformJobName"),
            "transform_job_arn": found.get("TransformJobArn"),
            "model": model,
            "input": self.input_path,
            "output": self.output_path,
            "status": found.get("TransformJobStatus"),
        }
