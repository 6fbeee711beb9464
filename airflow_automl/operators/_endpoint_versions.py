"""The versions of an endpoint: the configs and models that this package made for it, and which of them may go."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_automl.serving import derived_pattern, derived_stem
from airflow_automl.version_tags import TAG_ENDPOINT, TAG_PREVIOUS, TAG_STATE

if TYPE_CHECKING:
    from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook

log = logging.getLogger(__name__)


def own_versions(hook: SageMakerAutoMLDeploymentHook, endpoint_name: str) -> list[str]:
    """Return the names of the endpoint's configs that this package made, newest first.

    A config is ours if it has a derived name and its tags name the endpoint. If the account does not let tags be read,
    the derived name is proof enough.
    """
    return [
        config["EndpointConfigName"]
        for config in hook.list_endpoint_configs(NameContains=derived_stem(endpoint_name))
        if _is_own(hook, endpoint_name, config["EndpointConfigName"], config["EndpointConfigArn"])
    ]


def named_configs(hook: SageMakerAutoMLDeploymentHook, endpoint_name: str) -> set[str]:
    """Return the configs that the endpoint serves, is to serve, and served before."""
    endpoint = hook.describe_endpoint(endpoint_name)
    if endpoint is None or endpoint["EndpointStatus"] == "Deleting":
        return set()
    config = hook.describe_endpoint_config(endpoint["EndpointConfigName"])
    tags = hook.read_tags(config["EndpointConfigArn"]) if config else None
    return {*_configs_of(endpoint), str((tags or {}).get(TAG_PREVIOUS))}


def take_back(
    hook: SageMakerAutoMLDeploymentHook,
    endpoint_name: str,
    config_name: str,
    model_name: str,
    *,
    made: Collection[str],
) -> None:
    """Delete the config and the model of a deployment that failed, if nothing uses them or used them before.

    :param made: the names that this try of the task made. An older config is only deleted if its tags say
        that no endpoint has served it: an earlier try made it and did not come further.
    """
    config = hook.describe_endpoint_config(config_name)
    if config is not None:
        tags = None if config_name in made else hook.read_tags(config["EndpointConfigArn"])
        untouched = config_name in made or (tags or {}).get(TAG_STATE) == "deploying"
        if not untouched or config_name in named_configs(hook, endpoint_name):
            log.info("Endpoint config %s and model %s are kept", config_name, model_name)
            return
    remove_versions(hook, endpoint_name, [config_name], [model_name])


def remove_versions(
    hook: SageMakerAutoMLDeploymentHook, endpoint_name: str, names: Iterable[str], models: Iterable[str] = ()
) -> None:
    """Delete configs that no endpoint names, and models that no other config or model package refers to.

    Operations: ListEndpoints, DescribeEndpoint, DescribeModel, ListEndpointConfigs, DescribeEndpointConfig,
    ListModelPackages, DescribeModelPackage, DeleteModel, DeleteEndpointConfig.

    :param models: removed beside those models of the configs that this package made.
    """
    configs = {name: config for name in names if (config := hook.describe_endpoint_config(name)) is not None}
    for name in _configs_in_use(hook, configs.values()) & set(configs):
        log.info("Endpoint config %s is kept: an endpoint uses it", name)
        del configs[name]
    pattern = derived_pattern(endpoint_name)
    own = {model for config in configs.values() for model in _models_of(config) if pattern.fullmatch(model)}
    described = [model for model in map(hook.describe_model, sorted(own.union(models))) if model is not None]
    if described:
        used = _referred_models(hook, endpoint_name, _since(described), configs)
        for model in described:
            if model["ModelName"] in used or model["ModelArn"] in used:
                log.info("Model %s is kept: another endpoint config or a model package uses it", model["ModelName"])
                continue
            hook.delete_model(model["ModelName"])
            log.info("Removed model %s", model["ModelName"])
    # The configs last: a retry finds their models through them.
    for name in configs:
        hook.delete_endpoint_config(name)
        log.info("Removed endpoint config %s", name)


def _since(resources: Iterable[Mapping[str, Any]]) -> datetime:
    oldest: datetime = min(each["CreationTime"] for each in resources)
    return oldest - timedelta(seconds=1)


def _models_of(config: Mapping[str, Any]) -> set[str]:
    variants = (*config.get("ProductionVariants", ()), *config.get("ShadowProductionVariants", ()))
    return {str(variant.get("ModelName")) for variant in variants}


def _configs_in_use(hook: SageMakerAutoMLDeploymentHook, configs: Collection[Mapping[str, Any]]) -> set[str]:
    """Return the configs that endpoints serve or are to serve, as far as they may be among the given ones."""
    used = set()
    for summary in hook.list_endpoints(LastModifiedTimeAfter=_since(configs)) if configs else ():
        endpoint = hook.describe_endpoint(summary["EndpointName"])
        if endpoint is not None and endpoint["EndpointStatus"] != "Deleting":
            used |= _configs_of(endpoint)
    return used


def _configs_of(endpoint: Mapping[str, Any]) -> set[str]:
    pending = endpoint.get("PendingDeploymentSummary") or {}
    return {str(each["EndpointConfigName"]) for each in (endpoint, pending) if "EndpointConfigName" in each}


def _referred_models(
    hook: SageMakerAutoMLDeploymentHook, endpoint_name: str, since: datetime, without: Collection[str]
) -> set[str]:
    """Return the models, as names or ARNs, that endpoint configs and model packages refer to.

    What is older than a model can't refer to it, except a config of the same endpoint whose model was made again.

    :param since: what was created after this time counts, and all configs of the endpoint.
    :param without: configs that do not count.
    """
    listed = [
        *hook.list_endpoint_configs(NameContains=derived_stem(endpoint_name)),
        *hook.list_endpoint_configs(CreationTimeAfter=since),
    ]
    used = set()
    for name in {config["EndpointConfigName"] for config in listed} - set(without):
        used |= _models_of(hook.describe_endpoint_config(name) or {})
    for summary in hook.list_model_packages(ModelPackageType="Both", CreationTimeAfter=since):
        used.add(str((hook.describe_model_package(summary["ModelPackageArn"]) or {}).get("SourceUri")))
    return used


def own_models(hook: SageMakerAutoMLDeploymentHook, endpoint_name: str) -> list[str]:
    """Return the endpoint's models that this package made, also those of deployments that made no config."""
    return [
        model["ModelName"]
        for model in hook.list_models(derived_stem(endpoint_name))
        if _is_own(hook, endpoint_name, model["ModelName"], model["ModelArn"])
    ]


def _is_own(hook: SageMakerAutoMLDeploymentHook, endpoint_name: str, name: str, arn: str) -> bool:
    if not derived_pattern(endpoint_name).fullmatch(name):
        return False
    tags = hook.read_tags(arn)
    return tags is None or tags.get(TAG_ENDPOINT) == endpoint_name


def remove_old_versions(
    hook: SageMakerAutoMLDeploymentHook, endpoint_name: str, *, keep: int, protected: Collection[str | None]
) -> None:
    """Delete the endpoint's versions beyond the newest ones.

    Never a protected one, nor one that the endpoint serves, is to serve or served before, nor one that is newer than
    what it serves: another task may be about to deploy that.
    """
    names = own_versions(hook, endpoint_name)
    named = named_configs(hook, endpoint_name)
    kept = {name for name in (*protected, *named) if name in names}
    newest = next((index for index, name in enumerate(names) if name in kept), len(names))
    kept |= set(names[:newest])
    for name in names:
        if len(kept) >= keep:
            break
        kept.add(name)
    remove_versions(hook, endpoint_name, [name for name in names if name not in kept])
