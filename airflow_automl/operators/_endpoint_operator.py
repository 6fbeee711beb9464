"""What the operators share that change which config an endpoint serves: the update, its wait, autoscaling around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeGuard

from airflow_automl.exceptions import AutoMLError, AutoMLValidationError, explained
from airflow_automl.operators._base import document
from airflow_automl.operators._waiting_operator import WaitingOperator
from airflow_automl.waiting import RESOURCES

if TYPE_CHECKING:
    from airflow.sdk import Context

#: Key in the task's state store: the autoscaling that was removed for an update, to restore it.
_SCALING_KEY = "airflow_automl.scaling"


def is_changing(endpoint: dict[str, Any] | None) -> TypeGuard[dict[str, Any]]:
    return endpoint is not None and endpoint["EndpointStatus"] not in RESOURCES["endpoint"].final


class EndpointOperator(WaitingOperator):
    """An operator that changes what an endpoint serves, and waits until it does.

    Its ``timeout`` is 3 hours by default; what was started continues at AWS.

    :param endpoint_name: the endpoint.
    :param deployment_config: AWS's ``DeploymentConfig``.
    """

    template_fields: Sequence[str] = (*WaitingOperator.template_fields, "endpoint_name", "deployment_config")
    default_timeout = 3 * 3600.0
    kind = "endpoint"

    def __init__(self, *, endpoint_name: str, deployment_config: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.endpoint_name = endpoint_name
        self.deployment_config = deployment_config

    def endpoint_request(self, config_name: str) -> dict[str, Any]:
        """Return the request of CreateEndpoint or UpdateEndpoint for a config."""
        request: dict[str, Any] = {"EndpointName": self.endpoint_name, "EndpointConfigName": config_name}
        deployment_config = document(self.deployment_config, "deployment_config", "DeploymentConfig")
        if deployment_config:
            request["DeploymentConfig"] = deployment_config
        return request

    def update_endpoint(
        self, context: Context, state: dict[str, Any], request: Mapping[str, Any], serving: str
    ) -> None:
        """UpdateEndpoint, without the autoscaling of variants that it removes or gives another instance type.

        AWS refuses such an update while these variants are scalable targets. They are registered again: here, if no
        update begins, otherwise by :meth:`put_scaling_back` after the wait, whether it succeeds or fails.

        Operations: UpdateEndpoint; if it is refused, DescribeEndpointConfig, DescribeScalableTargets,
        DescribeScalingPolicies and DeregisterScalableTarget, and UpdateEndpoint again; if that is refused, those
        of :meth:`put_scaling_back`.

        :param state: the notes for ``execute_complete``; ``scaling`` is added.
        :param serving: the config that the endpoint serves now.
        """
        try:
            try:
                self.hook.update_endpoint(request)
            except AutoMLValidationError as error:
                scaling = self._scaling_in_the_way(serving, str(request["EndpointConfigName"]))
                if not scaling:
                    raise
                if not self.wait_for_completion:
                    hint = "autoscaling is removed and restored only by a task that waits (wait_for_completion=True)"
                    raise explained(error, f"endpoint {self.endpoint_name}", hint) from error
                self.log.info("Removing autoscaling of %s during the update: %s", ", ".join(scaling), error)
                store = context.get("task_state_store")
                # A try that died may have removed that of other variants.
                removed: Any = store.get(_SCALING_KEY) if store is not None else None
                state["scaling"] = {**(removed or {}), **scaling}
                if store is not None:
                    # For the next try, if this one dies before the wait.
                    store.set(_SCALING_KEY, state["scaling"])
                for variant in scaling:
                    self.hook.unscale_endpoint(self.endpoint_name, variant)
                self.hook.update_endpoint(request)
        except AutoMLError:
            with suppress(AutoMLError):
                # The answer to an update that began may have been lost.
                if not is_changing(self.hook.describe_endpoint(self.endpoint_name)):
                    self.put_scaling_back(context, state, serving)
            raise

    def state_of(self, event: Any) -> dict[str, Any]:
        """Return the notes of a wait; if it failed, log the autoscaling that remains removed."""
        try:
            return super().state_of(event)
        except AutoMLError:
            if scaling := isinstance(event, Mapping) and (event.get("state") or {}).get("scaling"):
                self.log.warning(
                    "The autoscaling of endpoint %s was removed for the update, whose end is not known. Register it "
                    "again after the update, or run this task again: %s",
                    *(self.endpoint_name, scaling),
                )
            raise

    def put_scaling_back(self, context: Context, state: Mapping[str, Any], config_name: str | None) -> None:
        """Register the autoscaling again that :meth:`update_endpoint` took off, for the variants of a config.

        Operations: DescribeEndpointConfig, RegisterScalableTarget, PutScalingPolicy.
        """
        store = context.get("task_state_store")
        scaling: Any = state.get("scaling") or (store.get(_SCALING_KEY) if store is not None else None)
        if not scaling or not config_name:
            return
        variants = self._instance_types(config_name)
        try:
            for name, autoscaling in scaling.items():
                if name in variants:
                    self.hook.scale_endpoint(self.endpoint_name, name, autoscaling)
        except AutoMLError as error:
            self.log.warning(
                "The autoscaling of endpoint %s was not restored: %s. Register it again: %s",
                *(self.endpoint_name, error, scaling),
            )
            return
        if store is not None:
            store.set(_SCALING_KEY, {})

    def _scaling_in_the_way(self, serving: str, wanted: str) -> dict[str, Any]:
        before, after = self._instance_types(serving), self._instance_types(wanted)
        changed = [name for name, instance_type in before.items() if after.get(name) != instance_type]
        try:
            return self.hook.read_scaling(self.endpoint_name, changed) if changed else {}
        except AutoMLError as error:
            self.log.warning("The autoscaling of endpoint %s can't be read: %s", self.endpoint_name, error)
            return {}

    def _instance_types(self, config_name: str) -> dict[str, str | None]:
        config = self.hook.describe_endpoint_config(config_name) or {}
        return {str(each["VariantName"]): each.get("InstanceType") for each in config.get("ProductionVariants", ())}
