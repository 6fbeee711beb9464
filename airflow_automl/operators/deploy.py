"""Deploy a candidate: model, endpoint config, endpoint created or updated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.contract import documents
from airflow_automl.contract.wording import unknown
from airflow_automl.exceptions import (
    AutoMLDeploymentFailed,
    AutoMLError,
    AutoMLQuotaExceeded,
    AutoMLTerminalError,
    AutoMLValidationError,
)
from airflow_automl.naming import TaskGeneration
from airflow_automl.operators._base import document
from airflow_automl.operators._candidate_operator import ServingOperator
from airflow_automl.operators._endpoint_operator import EndpointOperator, is_changing
from airflow_automl.operators._endpoint_versions import remove_old_versions, take_back
from airflow_automl.operators._model_request import Deployment, ServedCandidate, plan_deployment
from airflow_automl.version_tags import TAG_ENDPOINT, TAG_PREVIOUS, TAG_STATE

if TYPE_CHECKING:
    from airflow.sdk import Context

_TRACKING = "TargetTrackingScalingPolicyConfiguration"
#: Member of ``autoscaling`` → its shape in the service model.
_SCALING = {"MinCapacity": "ResourceCapacity", "MaxCapacity": "ResourceCapacity", _TRACKING: _TRACKING}
_PROBABILITY_KEYS = frozenset({"probability", "probabilities"})


class SageMakerAutoMLDeployOperator(ServingOperator, EndpointOperator):
    """Create or update an endpoint that serves a candidate, and wait until it is in service.

    The names of model and endpoint config are derived from the endpoint, the run and their content, so that a retry
    finds what an earlier try created. If the new version does not start, the endpoint continues to serve the old one,
    the new resources are removed, and the task fails with AWS's reason. A rollback by AWS is a failure too, although
    the status is ``InService``.

    A failed deployment removes only the config and the model that it created, and never one that the endpoint serves or
    served before, or that another endpoint, endpoint config or model package uses.

    Operations: CreateModel, CreateEndpointConfig, CreateEndpoint or UpdateEndpoint, DescribeEndpoint; on failure and
    for old versions ListEndpoints, ListEndpointConfigs, ListModelPackages, DeleteEndpointConfig and DeleteModel; with
    ``autoscaling`` RegisterScalableTarget and PutScalingPolicy; on an autoscaled endpoint whose instance type changes
    DescribeScalableTargets, DescribeScalingPolicies and DeregisterScalableTarget. Needs ``iam:PassRole`` for the role
    and ``sagemaker:AddTags``.

    :param endpoint_name: the endpoint (templated).
    :param candidate: the candidate's document in AWS's keys, such as ``train.best_candidate`` (templated). ``None``, of
        a job that has no best candidate, raises NoBestCandidate.
    :param job: the job's document, such as ``train.job``; role, KMS, VPC and tags are taken from it (templated).
        Without ``candidate``, its best candidate is used.
    :param job_name: the name of an AutoML job (V1 or V2) to use instead of ``job`` (templated).
    :param instance_type: such as ``ml.m5.2xlarge``; default: the connection's ``automl.instance_type``, else one that
        can serve the problem type. A GPU type takes the candidate's GPU containers if it has both.
    :param instance_count: instances to begin with.
    :param response: the columns of a classifier's response, in this order: of ``predicted_label``, ``probability``,
        ``probabilities``, ``labels``; ``"all"`` is all that the candidate supports, and nothing for other problems.
        Default: that of the containers.
    :param serverless: AWS's ``ServerlessConfig`` (``MemorySizeInMB``, ``MaxConcurrency``) instead of instances.
    :param variants: AWS's ``ProductionVariants``; those without ``ModelName`` serve the candidate, and get default
        values for missing members. Default: one variant, ``AllTraffic``.
    :param autoscaling: ``{"MinCapacity", "MaxCapacity", "TargetTrackingScalingPolicyConfiguration"}`` for every
        variant that serves the candidate (Application Auto Scaling). Not with ``wait_for_completion=False``.
    :param deployment_config: AWS's ``DeploymentConfig``: blue/green (all at once, canary, linear) or rolling, alarms
        that roll back.
    :param retain_variant_properties: on an update, keep instance counts and weights that changed since.
    :param model: other members of CreateModel in AWS's shape, such as ``EnableNetworkIsolation`` or ``VpcConfig``;
        they replace what comes from the job.
    :param endpoint_config: other members of CreateEndpointConfig, such as ``DataCaptureConfig`` or ``KmsKeyId``.
    :param role_arn: the role that the model runs with; default: the job's, else the connection's.
    :param tags: further tags, beside the job's own.
    :param keep_versions: how many of this endpoint's configs and models (created by this operator) are kept, the
        serving and the previous one always among them; ``0`` keeps all.
    :param wait_for_completion: ``False`` ends the task when the deployment has started.
    :param deferrable: wait in the triggerer, without a worker slot. Default: ``[operators] default_deferrable``.
    :param poll_interval: a timedelta, or seconds, between two polls. Default: ``[automl] poll_interval`` (30).
    :param timeout: a timedelta, or seconds, to wait at most; 3 hours by default. ``None``: no limit. What was
        started continues at AWS. ``execution_timeout`` ends the wait too, and counts from the start of the task.
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.
    :return: ``{"endpoint_name", "endpoint_arn", "endpoint_config", "model", "previous_endpoint_config",
        "candidate_name", "job_name"}``.
    :raises NoBestCandidate: there is no candidate, or it has no containers.
    :raises AutoMLValidationError: a request that AWS would refuse; nothing was created.
    :raises AutoMLDeploymentFailed: the endpoint does not serve the candidate.
    """

    template_fields = (
        *ServingOperator.template_fields,
        *("endpoint_name", "serverless", "variants", "autoscaling", "deployment_config", "endpoint_config"),
    )
    ui_color = "#d9ead3"

    def __init__(
        self,
        *,
        serverless: dict[str, Any] | None = None,
        variants: list[dict[str, Any]] | None = None,
        autoscaling: dict[str, Any] | None = None,
        retain_variant_properties: bool = False,
        endpoint_config: dict[str, Any] | None = None,
        keep_versions: int = 3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.serverless = serverless
        self.variants = variants
        self.autoscaling = autoscaling
        self.retain_variant_properties = retain_variant_properties
        self.endpoint_config = endpoint_config
        self.keep_versions = keep_versions
        if autoscaling is not None and not self.wait_for_completion:
            problem = "autoscaling: is given, but wait_for_completion is False; it needs the endpoint in service"
            raise AutoMLValidationError(type(self).__name__, [problem])

    def execute(self, context: Context) -> dict[str, Any]:
        """Deploy, or continue where an earlier try of this task stopped."""
        served, deployment = self._plan(context)
        self._warn_about_auto(served)
        state = {
            "candidate_name": served.candidate["CandidateName"],
            "job_name": served.job.get("name"),
            "config": deployment.config_name,
            "model": deployment.model_name,
            "scaled_variants": [
                each["VariantName"]
                for each in deployment.config["ProductionVariants"]
                if each["ModelName"] == deployment.model_name and "InstanceType" in each
            ],
        }
        return self._advance(context, deployment, state)

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Evaluate the result of the wait, or submit now that the endpoint's status is final."""
        state = self.state_of(event)
        if state["submitted"]:
            return self._conclude(context, state)
        _, deployment = self._plan(context)
        return self._advance(context, deployment, state)

    def _plan(self, context: Context) -> tuple[ServedCandidate, Deployment]:
        served = self.served_candidate()
        self._autoscaling()
        deployment = plan_deployment(
            served,
            endpoint_name=self.endpoint_name,
            run=TaskGeneration.of(context).identity,
            instance_count=self.instances(),
            serverless=document(self.serverless, "serverless", "ProductionVariantServerlessConfig"),
            variants=document(self.variants, "variants", "ProductionVariantList"),
            endpoint_config=document(self.endpoint_config, "endpoint_config", "CreateEndpointConfigInput") or {},
        )
        self.hook.check("CreateEndpoint", self.endpoint_request(deployment.config_name))
        self.hook.check("CreateModel", deployment.model)
        self.hook.check("CreateEndpointConfig", deployment.config)
        return served, deployment

    def _autoscaling(self) -> dict[str, Any]:
        scaling: dict[str, Any] = document(self.autoscaling, "autoscaling") or {}
        if problems := [f"autoscaling.{key} {unknown(key, _SCALING)}" for key in scaling if key not in _SCALING]:
            raise AutoMLValidationError("autoscaling", problems)
        return {key: document(scaling[key], key, _SCALING[key], "application-autoscaling") for key in scaling}

    def _warn_about_auto(self, served: ServedCandidate) -> None:
        job = served.job
        if not job or not _PROBABILITY_KEYS.intersection(served.response):
            return
        try:
            described = self.hook.describe_job(job["name"])
        except AutoMLError as error:
            self.log.info("Could not find out whether job %s chose its training mode itself: %s", job["name"], error)
            return
        if documents.mode(described) == "AUTO":
            self.log.warning(
                "Job %s chose its training mode itself (AUTO). The answer's `probability` depends on it: that of the "
                "positive class with HYPERPARAMETER_TUNING, that of the predicted label with ENSEMBLING; data that "
                "grows past 100 MB changes the mode. Name a mode if callers rely on it.",
                job["name"],
            )

    def _advance(self, context: Context, deployment: Deployment, state: dict[str, Any]) -> dict[str, Any]:
        """Take the step that the endpoint's present state asks for."""
        state = {**state, "submitted": False}
        endpoint = self.hook.describe_endpoint(self.endpoint_name)
        status = endpoint["EndpointStatus"] if endpoint else None
        serving = endpoint.get("EndpointConfigName") if endpoint else None
        if is_changing(endpoint):
            pending = (endpoint.get("PendingDeploymentSummary") or {}).get("EndpointConfigName")
            ours = deployment.config_name in {serving, pending} and status != "Deleting"
            self.log.info(
                "Endpoint %s is %s%s, waiting until its status is final",
                self.endpoint_name,
                status,
                " with this version" if ours else "",
            )
            return self._await(context, {**state, "submitted": ours})
        if status == "InService" and serving == deployment.config_name:
            return self._conclude(context, state)
        if endpoint and status == "Failed":
            self._remove_failed_endpoint(endpoint)
            return self._await(context, state)
        # What this try creates, and may therefore remove.
        made = state["made"] = list(state.get("made", ()))
        if self.hook.ensure_model(deployment.model):
            made.append(deployment.model_name)
        else:
            self.log.info("Model %s exists already", deployment.model_name)
        try:
            self._make_config(deployment, serving, made)
            request = self.endpoint_request(deployment.config_name)
            if serving is None:
                state["created"] = self.hook.ensure_endpoint({**request, "Tags": deployment.config["Tags"]})
                if not state["created"]:
                    # Another task created the endpoint between our describe and our create.
                    return self._await(context, state)
            else:
                if self.retain_variant_properties:
                    request["RetainAllVariantProperties"] = True
                self.update_endpoint(context, state, request, serving)
        except (AutoMLTerminalError, AutoMLQuotaExceeded) as error:
            now = self.hook.describe_endpoint(self.endpoint_name)
            if is_changing(now):
                # Another deployment began between our describe and our update.
                return self._await(context, state)
            # An endpoint in this status serves a mix, of which the config of an earlier try may be a part.
            if status != "UpdateRollbackFailed" or deployment.config_name in made:
                self._take_back(state)
            # A quota may have room at the next try.
            kind = AutoMLQuotaExceeded if isinstance(error, AutoMLQuotaExceeded) else AutoMLDeploymentFailed
            raise kind(
                f"endpoint {self.endpoint_name} was not {'created' if endpoint is None else 'updated'}: {error}"
            ) from error
        self.log.info(
            "%s endpoint %s with config %s and model %s for candidate %s",
            "Creating" if endpoint is None else "Updating",
            *(self.endpoint_name, deployment.config_name, deployment.model_name, state["candidate_name"]),
        )
        return self._await(context, {**state, "submitted": True})

    def _await(self, context: Context, state: dict[str, Any]) -> dict[str, Any]:
        if state["submitted"] and not self.wait_for_completion:
            endpoint = self.hook.describe_endpoint(self.endpoint_name) or {}
            return self._result(endpoint, state)
        return self.wait_for(context, self.endpoint_name, state)

    def _make_config(self, deployment: Deployment, serving: str | None, made: list[str]) -> None:
        config = dict(deployment.config)
        own = {TAG_STATE: "deploying", **({TAG_PREVIOUS: serving} if serving else {})}
        config["Tags"] = [*config["Tags"][: 50 - len(own)], *({"Key": key, "Value": own[key]} for key in own)]
        if self.hook.ensure_endpoint_config(config):
            made.append(deployment.config_name)
            return
        self.log.info("Endpoint config %s exists already", deployment.config_name)
        if serving and serving != deployment.config_name:
            described = self.hook.describe_endpoint_config(deployment.config_name) or {}
            self.hook.write_tags(described["EndpointConfigArn"], {TAG_PREVIOUS: serving})

    def _remove_failed_endpoint(self, endpoint: Mapping[str, Any]) -> None:
        reason = endpoint.get("FailureReason") or "AWS gives no reason"
        tags = self.hook.read_tags(endpoint["EndpointArn"])
        if (tags or {}).get(TAG_ENDPOINT) != self.endpoint_name:
            doubt = "its tags can't be read" if tags is None else "was not made by this operator"
            raise AutoMLDeploymentFailed(
                f"endpoint {self.endpoint_name} is Failed ({reason}) and {doubt}; AWS only lets a failed endpoint be "
                "deleted: delete it, then run this task again"
            )
        self.log.warning("Endpoint %s is Failed (%s): deleting it to create it again", self.endpoint_name, reason)
        self.hook.delete_endpoint(self.endpoint_name)

    def _conclude(self, context: Context, state: dict[str, Any]) -> dict[str, Any]:
        endpoint = self.hook.describe_endpoint(self.endpoint_name)
        if is_changing(endpoint):
            # Another deployment began between the end of the wait and this describe.
            return self.wait_for(context, self.endpoint_name, state)
        serving = endpoint.get("EndpointConfigName") if endpoint else None
        self.put_scaling_back(context, state, serving)
        if endpoint and endpoint["EndpointStatus"] == "InService" and serving == state["config"]:
            if autoscaling := self._autoscaling():
                for variant in state["scaled_variants"]:
                    self.hook.scale_endpoint(self.endpoint_name, variant, autoscaling)
            result = self._result(endpoint, state)
            self._prune(result)
            self.log.info("Endpoint %s serves candidate %s", self.endpoint_name, state["candidate_name"])
            return result
        raise AutoMLDeploymentFailed(self._undo(endpoint, state))

    def _undo(self, endpoint: Mapping[str, Any] | None, state: Mapping[str, Any]) -> str:
        """Remove what this deployment made and nothing serves, and say what happened."""
        if endpoint is None:
            self._take_back(state)
            return f"endpoint {self.endpoint_name} was deleted while it was being deployed"
        status = endpoint["EndpointStatus"]
        self.show_logs(self.endpoint_name)
        reason = endpoint.get("FailureReason") or "AWS gives no reason; look at the endpoint's logs in CloudWatch"
        serving = endpoint.get("EndpointConfigName")
        if status == "UpdateRollbackFailed":
            return (
                f"endpoint {self.endpoint_name} is {status}: it serves a mix of the old and the new version, so config "
                f"{state['config']} and model {state['model']} are kept beside config {serving}. Update the endpoint "
                f"to one of the two: {reason}"
            )
        if status == "Failed" and serving == state["config"]:
            if state.get("created"):
                self.hook.delete_endpoint(self.endpoint_name)
            else:
                self._remove_failed_endpoint(endpoint)
            self._take_back(state)
            return f"endpoint {self.endpoint_name} could not be created and was removed: {reason}"
        if serving != state["config"]:
            self._take_back(state)
            return (
                f"endpoint {self.endpoint_name} does not serve candidate {state['candidate_name']} and is {status} "
                f"with its old config {serving}: {reason}"
            )
        return f"endpoint {self.endpoint_name} is {status} with the new config {serving}: {reason}"

    def _take_back(self, state: Mapping[str, Any]) -> None:
        config, model = state["config"], state["model"]
        try:
            take_back(self.hook, self.endpoint_name, config, model, made=state.get("made", ()))
        except AutoMLError as error:
            # The deployment's own failure is what the user must see.
            self.log.warning("Config %s and model %s were not removed: %s", config, model, error)

    def _result(self, endpoint: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
        described = self.hook.describe_endpoint_config(state["config"]) or {}
        tags = self.hook.read_tags(described["EndpointConfigArn"]) if described else None
        if (tags or {}).get(TAG_STATE) == "deploying":
            self.hook.write_tags(described["EndpointConfigArn"], {TAG_STATE: "deployed"})
        return {
            "endpoint_name": self.endpoint_name,
            "endpoint_arn": endpoint.get("EndpointArn"),
            "endpoint_config": state["config"],
            "model": state["model"],
            "previous_endpoint_config": (tags or {}).get(TAG_PREVIOUS),
            "candidate_name": state["candidate_name"],
            "job_name": state["job_name"],
        }

    def _prune(self, result: Mapping[str, Any]) -> None:
        if self.keep_versions <= 0:
            return
        try:
            remove_old_versions(
                self.hook,
                self.endpoint_name,
                keep=self.keep_versions,
                protected={result["endpoint_config"], result["previous_endpoint_config"]},
            )
        except AutoMLError as error:
            self.log.warning("Old versions of endpoint %s were not removed: %s", self.endpoint_name, error)
