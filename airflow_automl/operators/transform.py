"""Score data in S3 with a candidate: batch transform."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.exceptions import (
    AutoMLError,
    AutoMLJobFailed,
    AutoMLJobStopped,
    AutoMLJobTimeout,
    AutoMLQuotaExceeded,
    AutoMLTerminalError,
    AutoMLValidationError,
    InvalidTriggerEvent,
    restored,
)
from airflow_automl.naming import TaskGeneration
from airflow_automl.operators._base import document, task_terminated
from airflow_automl.operators._candidate_operator import ServingOperator
from airflow_automl.operators._model_request import ServedCandidate, problems_of_role
from airflow_automl.operators._waiting_operator import WaitingOperator
from airflow_automl.serving import CONTENT_TYPES, derived_name, encrypts_itself
from airflow_automl.version_tags import TAG_CANDIDATE, TAG_JOB

if TYPE_CHECKING:
    from airflow.sdk import Context

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9-]+")
_LINES = {"SplitType": "Line", "AssembleWith": "Line"}
_WHOLE = {"SplitType": "None", "AssembleWith": "None"}
#: Files of whole series can't be split, and forecasting all of them takes long.
_WHOLE_SERIES: Mapping[str, Any] = {"MaxPayloadInMB": 0, "ModelClientConfig": {"InvocationsTimeoutInSeconds": 3600}}
_RUNNING = frozenset({"InProgress", "Completed"})


class SageMakerAutoMLTransformOperator(ServingOperator, WaitingOperator):
    """Score everything under an S3 prefix, and wait until the predictions are in S3.

    A transform job of a derived name belongs to one run of the task: a retry waits for the job of an earlier try,
    starts another one if that failed, and a clear scores again. Its model is created for it and removed when the job
    has ended. A killed task stops its job.

    Operations: CreateModel, CreateTransformJob, DescribeTransformJob, DeleteModel; AddTags if a retry adopts a
    job; ListTags and StopTransformJob if one is stopped.

    :param candidate: the candidate's document in AWS's keys, such as ``train.best_candidate`` (templated). ``None``, of
        a job that has no best candidate, raises NoBestCandidate.
    :param job: the job's document, such as ``train.job``; role, KMS, VPC and tags are taken from it (templated).
        Without ``candidate``, its best candidate is used.
    :param job_name: the name of an AutoML job (V1 or V2) to use instead of ``job`` (templated).
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
        ``BatchStrategy``; ``TransformInput``, ``TransformOutput`` and ``TransformResources`` get default values for
        missing members.
    :param model: other members of CreateModel in AWS's shape.
    :param role_arn: the role that the model runs with; default: the job's, else the connection's.
    :param tags: further tags, beside the job's own.
    :param wait_for_completion: ``False`` ends the task when the job has started; its model is then not deleted.
    :param deferrable: wait in the triggerer, without a worker slot. Default: ``[operators] default_deferrable``.
    :param poll_interval: a timedelta, or seconds, between two polls. Default: ``[automl] poll_interval`` (30).
    :param timeout: a timedelta, or seconds, to wait at most; 3 hours by default. Then the job is stopped. ``None``: no
        limit. ``execution_timeout`` has the same effect, and counts from the start of the task.
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.
    :return: ``{"transform_job_name", "transform_job_arn", "model", "input", "output", "status"}``.
    :raises AutoMLJobFailed: the transform job failed; the message is its FailureReason.
    :raises AutoMLJobStopped: the transform job was stopped.
    :raises AutoMLJobTimeout: it took longer than ``timeout`` or ``execution_timeout``.
    :raises AutoMLAccessDenied: AWS refused to describe the job, which is stopped then.
    """

    template_fields = (
        *ServingOperator.template_fields,
        *("input_path", "output_path", "content_type", "accept", "transform"),
    )
    ui_color = "#dae8fc"
    default_timeout = 3 * 3600.0
    kind = "transform job"

    def __init__(
        self,
        *,
        input_path: str,
        output_path: str,
        content_type: str | None = None,
        accept: str | None = None,
        join: bool = False,
        transform: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_path = input_path
        self.output_path = output_path
        self.content_type = content_type
        self.accept = accept
        self.join = join
        self.transform = transform

    def execute(self, context: Context) -> dict[str, Any]:
        """Begin, or continue with the job of an earlier try."""
        self._try_number = context["ti"].try_number
        identity = TaskGeneration.of(context).generation_identity
        model, transform, readable = self._plan(identity)
        untagged = {key: value for key, value in transform.items() if key != "Tags"}
        for attempt in range(1, 100):
            name = derived_name(readable, {**identity, "attempt": attempt}, untagged)
            found = self.hook.describe_transform_job(name)
            if found is not None and found["TransformJobStatus"] not in _RUNNING:
                self.log.info("Transform job %s of an earlier try is %s", name, found["TransformJobStatus"])
                continue
            self._running = name
            if found is None:
                self._begin(context, model, {"TransformJobName": name, **transform})
            else:
                self.log.info("Transform job %s of an earlier try is %s", name, found["TransformJobStatus"])
                if found["TransformJobStatus"] == "InProgress":
                    self.hook.mark_adopted(found["TransformJobArn"], self._try_number)
            break
        else:
            raise AutoMLJobFailed(f"99 transform jobs of this task have failed, the last one is {name}")
        if self._killed:
            # The signal may have come before there was a job to stop.
            self._running = name
            self.on_kill()
            raise task_terminated(f"transform job {name}")
        state = {"model": model["ModelName"], "output": self.output_path}
        if not self.wait_for_completion:
            self._running = None
            return self._result(self.hook.describe_transform_job(name) or {}, state["model"])
        return self.wait_for(context, name, state)

    def _begin(self, context: Context, model: Mapping[str, Any], request: Mapping[str, Any]) -> None:
        made, name, ti = self.hook.ensure_model(model), request["TransformJobName"], context["ti"]
        try:
            self.hook.ensure_transform_job(request)
        except AutoMLError as error:
            refused = isinstance(error, AutoMLTerminalError | AutoMLQuotaExceeded)
            if not refused and ti.try_number <= ti.max_tries:
                raise
            self._running = None
            # A call whose answer was lost may have created the job, and no other try will find it.
            if (refused and made) or not (refused or self.stop(name, late=True).runs_on):
                self._remove_model(model["ModelName"])
            raise
        self.log.info("Transform job %s scores %s", request["TransformJobName"], self.input_path)

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Evaluate the result of the job, and remove its model."""
        self._try_number = context["ti"].try_number
        try:
            state = self.state_of(event)
        except InvalidTriggerEvent:
            raise
        except AutoMLError as failure:
            result = self.stop(event["name"])
            if not result.runs_on:  # A job that runs on needs its model.
                self._remove_model(event["state"]["model"])
            kind = AutoMLJobTimeout if event["status"] == "timeout" else type(failure)
            raise restored(kind.__name__, f"{failure}; {result.said}") from None
        found = self.hook.describe_transform_job(event["name"]) or {}
        self._remove_model(state["model"])
        status = found.get("TransformJobStatus")
        if status == "Completed":
            self.log.info("The predictions are at %s", self.output_path)
            return self._result(found, state["model"])
        if status == "Stopped":
            if self._killed:
                # This task stopped it: its status says nothing about the job.
                raise task_terminated(f"transform job {event['name']}")
            raise AutoMLJobStopped(f"transform job {event['name']} was stopped")
        self.show_logs(event["name"])
        reason = found.get("FailureReason") or "AWS gives no reason; look at the job's logs in CloudWatch"
        raise AutoMLJobFailed(f"transform job {event['name']} is {status}: {reason}")

    def _plan(self, identity: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], str]:
        served = self.served_candidate()
        candidate, job = served.candidate, served.job
        body = served.model_body()
        if problems := problems_of_role(body):
            raise AutoMLValidationError("transform", problems)
        tags = served.tag_list(
            {TAG_CANDIDATE: candidate["CandidateName"], **({TAG_JOB: job["name"]} if job.get("name") else {})}
        )
        subject = str(job.get("name") or candidate["CandidateName"])
        readable = _NOT_IN_NAMES.sub("-", subject).strip("-")[:32].rstrip("-")
        model = {"ModelName": derived_name(readable, identity, body), **body, "Tags": tags}
        transform = {**self._request(model["ModelName"], served), "Tags": tags}
        self.hook.check("CreateModel", model)
        self.hook.check("CreateTransformJob", {"TransformJobName": readable, **transform})
        return model, transform, readable

    def _request(self, model: str, served: ServedCandidate) -> dict[str, Any]:
        job, instance = served.job, served.instance
        problem_type = job.get("problem_type")
        kms = None if encrypts_itself(instance) else served.volume_key
        shape = _WHOLE if problem_type in CONTENT_TYPES else _LINES
        content_type = self.content_type or CONTENT_TYPES.get(problem_type, "text/csv")
        if self.join and shape is not _LINES:
            raise AutoMLValidationError(
                "transform", [f"join: {problem_type} is not scored line by line, so its inputs can't be joined"]
            )
        given = copy.deepcopy(document(self.transform, "transform", "CreateTransformJobRequest") or {})
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": self.input_path}}
        results: dict[str, Any] = {"S3OutputPath": self.output_path, "AssembleWith": shape["AssembleWith"]}
        if accept := self.accept or (content_type.partition(";")[0] if shape is _LINES else None):
            results["Accept"] = accept
        if key := (job.get("output") or {}).get("KmsKeyId"):
            results["KmsKeyId"] = key
        resources: dict[str, Any] = {"InstanceType": instance, "InstanceCount": self.instances()}
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
