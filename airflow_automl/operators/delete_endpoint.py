"""Delete an endpoint, and the versions that were made for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_automl.exceptions import AutoMLDeploymentFailed
from airflow_automl.operators._endpoint_operator import EndpointOperator, is_changing
from airflow_automl.operators._endpoint_versions import own_models, own_versions, remove_versions

if TYPE_CHECKING:
    from airflow.sdk import Context


class SageMakerAutoMLDeleteEndpointOperator(EndpointOperator):
    """Delete an endpoint, wait until it does not exist any more, and delete its configs and models if this package
    created them.

    A config that another endpoint uses is kept, and so is a model that another config or a model package uses. Meant
    as a teardown (``deploy >> use >> delete.as_teardown(setups=deploy)``). An endpoint that does not exist is not an
    error. The task waits for a deployment in progress, because AWS can't interrupt it.

    Operations: DescribeEndpoint, DeleteEndpoint; ListEndpoints, ListEndpointConfigs, ListModels, ListTags,
    DescribeModel, DescribeEndpointConfig, ListModelPackages, DescribeModelPackage, DeleteEndpointConfig, DeleteModel.

    :param endpoint_name: the endpoint (templated).
    :param delete_versions: delete its configs and models too.
    :param wait_for_completion: ``False`` ends the task when the deletion has started.
    :param deferrable: wait in the triggerer, without a worker slot. Default: ``[operators] default_deferrable``.
    :param poll_interval: a timedelta, or seconds, between two polls. Default: ``[automl] poll_interval`` (30).
    :param timeout: a timedelta, or seconds, to wait at most; 3 hours by default. ``None``: no limit. What was
        started continues at AWS. ``execution_timeout`` ends the wait too, and counts from the start of the task.
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.
    :return: ``{"endpoint_name", "endpoint_configs"}``: what was deleted.
    :raises AutoMLDeploymentFailed: the endpoint still exists after the wait.
    """

    ui_color = "#f8cecc"

    def __init__(self, *, delete_versions: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.delete_versions = delete_versions

    def execute(self, context: Context) -> dict[str, Any]:
        """Delete, or continue where an earlier try of this task stopped."""
        return self._advance(context, {"submitted": False})

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Delete the endpoint, now that its status is final, or what belonged to it."""
        return self._advance(context, self.state_of(event))

    def _advance(self, context: Context, state: dict[str, Any]) -> dict[str, Any]:
        endpoint = self.hook.describe_endpoint(self.endpoint_name)
        if endpoint is None:
            return self._clean()
        if not is_changing(endpoint):
            if state["submitted"]:
                reason = endpoint.get("FailureReason") or "AWS gives no reason"
                raise AutoMLDeploymentFailed(
                    f"endpoint {self.endpoint_name} is {endpoint['EndpointStatus']} and was not deleted: {reason}"
                )
            self.hook.delete_endpoint(self.endpoint_name)
            self.log.info("Deleting endpoint %s", self.endpoint_name)
            state = {**state, "submitted": True}
            if not self.wait_for_completion:
                return self._clean()
        return self.wait_for(context, self.endpoint_name, state)

    def _clean(self) -> dict[str, Any]:
        names: list[str] = []
        if self.delete_versions:
            names = own_versions(self.hook, self.endpoint_name)
            models = own_models(self.hook, self.endpoint_name)
            remove_versions(self.hook, self.endpoint_name, names, models)
        return {"endpoint_name": self.endpoint_name, "endpoint_configs": names}
