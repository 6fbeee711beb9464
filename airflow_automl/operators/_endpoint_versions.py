"""The versions of an endpoint: the configs and models that this package made for it."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from airflow_automl.operators._version_tags import TAG_ENDPOINT
from airflow_automl.serving import derived_pattern, derived_stem

if TYPE_CHECKING:
    from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook

__all__ = ["own_versions", "remove_old_versions", "remove_stray_models", "remove_versions"]

log = logging.getLogger(__name__)


def own_versions(hook: SageMakerAutoMLDeploymentHook, endpoint_name: str) -> list[dict[str, Any]]:
    """Return the endpoint's configs that this package made, newest first.

    A config is ours if it has a derived name and says in its tags that it belongs to the endpoint. Where the account
    does not let tags be read, the derived name is proof enough.
    """
    configs = hook.list_endpoint_configs(derived_stem(endpoint_name))
    return [
        config
        for config in configs
        if _is_own(hook, endpoint_name, config["EndpointConfigName"], config["EndpointConfigArn"])
    ]


def remove_stray_models(hook: SageMakerAutoMLDeploymentHook, endpoint_name: str) -> None:
    """Delete the endpoint's models that this package made and for which a deployment never got as far as a config."""
    for model in hook.list_models(derived_stem(endpoint_name)):
        if _is_own(hook, endpoint_name, model["ModelName"], model["ModelArn"]):
            hook.delete_model(model["ModelName"])
            log.info("Removed model %s", model["ModelName"])


def _is_own(hook: SageMakerAutoMLDeploymentHook, endpoint_name: str, name: str, arn: str) -> bool:
    if not derived_pattern(endpoint_name).fullmatch(name):
        return False
    tags = hook.read_tags(arn)
    return tags is None or tags.get(TAG_ENDPOINT) == endpoint_name


def remove_versions(
    hook: SageMakerAutoMLDeploymentHook, endpoint_name: str, remove: Collection[str], keep: Collection[str]
) -> None:
    """Delete configs and those of their models that this package made and no kept config uses."""
    pattern = derived_pattern(endpoint_name)

    def models(config_name: str) -> set[str]:
        described = hook.describe_endpoint_config(config_name) or {}
        return {str(variant.get("ModelName")) for variant in described.get("ProductionVariants", ())}

    used = set().union(*(models(name) for name in keep)) if keep else set()
    for name in remove:
        own = {model for model in models(name) if pattern.fullmatch(model)}
        # The config last: only it tells a retry which models went with it.
        for model in sorted(own - used):
            hook.delete_model(model)
        hook.delete_endpoint_config(name)
        log.info("Removed endpoint config %s and %s", name, ", ".join(sorted(own - used)) or "no model")


def remove_old_versions(
    hook: SageMakerAutoMLDeploymentHook, endpoint_name: str, *, keep: int, protected: Collection[str | None]
) -> None:
    """Delete the endpoint's versions beyond the newest ones, never a protected one."""
    names = [config["EndpointConfigName"] for config in own_versions(hook, endpoint_name)]
    kept = {name for name in protected if name}
    for name in names:
        if len(kept) >= keep:
            break
        kept.add(name)
    remove_versions(hook, endpoint_name, [name for name in names if name not in kept], kept)
