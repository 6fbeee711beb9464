"""Roll back an endpoint to its previous config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.exceptions import AutoMLDeploymentFailed
from airflow_automl.naming import TaskGeneration, digest
from airflow_automl.operators._endpoint_operator import EndpointOperator, is_changing
from airflow_automl.version_tags import TAG_PREVIOUS, TAG_ROLLBACK

if TYPE_CHECKING:
    from airflow.sdk import Context


class SageMakerAutoMLRollbackOperator(EndpointOperator):
    """Roll back an endpoint to its previous config, and wait until it is in service.

    The config is chosen once for a run of the task, so that a retry does not go back one step further; a clear chooses
    again. The task waits for a deployment in progress.

    Operations: DescribeEndpoint, DescribeEndpointConfig, ListTags, AddTags, UpdateEndpoint; on an autoscaled endpoint
    whose instance type changes DescribeScalableTargets, DescribeScalingPolicies, DeregisterScalableTarget,
    RegisterScalableTarget and PutScalingPolicy.

    :param endpoint_name: the endpoint (templated).
    :param endpoint_config: the config to roll back to, such as
        ``"{{ ti.xcom_pull('deploy')['previous_endpoint_config'] }}"`` (templated); default: the config that the
        endpoint served before, which :class:`~airflow_automl.operators.SageMakerAutoMLDeployOperator` wrote into its
        config's tags.
    :param deployment_config: AWS's ``DeploymentConfig``, as for deploying.
    :param wait_for_completion: ``False`` ends the task when the rollback has started.
    :param deferrable: wait in the triggerer, without a worker slot. Default: ``[operators] default_deferrable``.
    :param poll_interval: a timedelta, or seconds, between two polls. Default: ``[automl] poll_interval`` (30).
    :param timeout: a timedelta, or seconds, to wait at most; 3 hours by default. ``None``: no limit. What was
        started continues at AWS. ``execution_timeout`` ends the wait too, and counts from the start of the task.
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.
    :return: ``{"endpoint_name", "endpoint_arn", "endpoint_config", "previous_endpoint_config"}``; the latter is the
        config that was served until now, ``None`` if the endpoint already served the target.
    :raises AutoMLDeploymentFailed: there is no such endpoint or previous config, or the endpoint does not start.
    """

    template_fields = (*EndpointOperator.template_fields, "endpoint_config")
    ui_color = "#f8cecc"

    def __init__(self, *, endpoint_config: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.endpoint_config = endpoint_config

    def execute(self, context: Context) -> dict[str, Any]:
        """Roll back, or continue where an earlier try of this task stopped."""
        return self._advance(context, {})

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Evaluate the result of the wait, or begin now that the endpoint's status is final."""
        state = self.state_of(event)
        if not state["submitted"]:
            return self._advance(context, state)
        endpoint = self._endpoint()
        if is_changing(endpoint):
            # A deployment began between the end of the wait and this describe.
            return self.wait_for(context, self.endpoint_name, state)
        self.put_scaling_back(context, state, endpoint["EndpointConfigName"])
        if endpoint["EndpointStatus"] == "InService" and endpoint["EndpointConfigName"] == state["target"]:
            return self._result(endpoint, state["serving"])
        raise AutoMLDeploymentFailed(
            f"endpoint {self.endpoint_name} was not rolled back to {state['target']}; it is "
            f"{endpoint['EndpointStatus']} with {endpoint['EndpointConfigName']}: "
            f"{endpoint.get('FailureReason') or 'AWS gives no reason'}"
        )

    def _advance(self, context: Context, state: dict[str, Any]) -> dict[str, Any]:
        endpoint = self._endpoint()
        if is_changing(endpoint):
            return self.wait_for(context, self.endpoint_name, {**state, "submitted": False})
        serving = endpoint["EndpointConfigName"]
        target = self._target(context, serving)
        if serving == target:
            self.put_scaling_back(context, state, serving)
            self.log.info("Endpoint %s serves %s already", self.endpoint_name, target)
            return self._result(endpoint, None)
        config = self.hook.describe_endpoint_config(target)
        if config is None:
            raise AutoMLDeploymentFailed(
                f"endpoint {self.endpoint_name} can't be rolled back to {target}: the config does not exist "
                "any more; deploy a candidate instead, and raise keep_versions"
            )
        request = self.endpoint_request(target)
        self.hook.check("UpdateEndpoint", request)
        state = {**state, "submitted": True, "target": target, "serving": serving}
        if not self.endpoint_config:
            # For a retry: the other tags of the target name the version before it.
            self.hook.write_tags(config["EndpointConfigArn"], {TAG_ROLLBACK: self._generation(context)})
        self.update_endpoint(context, state, request, serving)
        self.log.info("Rolling back endpoint %s from %s to %s", self.endpoint_name, serving, target)
        if not self.wait_for_completion:
            return self._result({**endpoint, "EndpointConfigName": target}, serving)
        return self.wait_for(context, self.endpoint_name, state)

    def _endpoint(self) -> dict[str, Any]:
        endpoint = self.hook.describe_endpoint(self.endpoint_name)
        if endpoint is None:
            raise AutoMLDeploymentFailed(f"there is no endpoint {self.endpoint_name}")
        return endpoint

    def _target(self, context: Context, serving: str) -> str:
        if self.endpoint_config:
            return self.endpoint_config
        config = self.hook.describe_endpoint_config(serving)
        tags = (self.hook.read_tags(config["EndpointConfigArn"]) if config else None) or {}
        if tags.get(TAG_ROLLBACK) == self._generation(context):
            return serving
        target = tags.get(TAG_PREVIOUS)
        if not target:
            raise AutoMLDeploymentFailed(
                f"the configuration of endpoint {self.endpoint_name} before {serving} is not known; name the config in "
                "endpoint_config"
            )
        return target

    @staticmethod
    def _generation(context: Context) -> str:
        return digest(TaskGeneration.of(context).generation_identity)

    def _result(self, endpoint: Mapping[str, Any], before: str | None) -> dict[str, Any]:
        return {
            "endpoint_name": self.endpoint_name,
            "endpoint_arn": endpoint.get("EndpointArn"),
            "endpoint_config": endpoint["EndpointConfigName"],
            "previous_endpoint_config": before,
        }
