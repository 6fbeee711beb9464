"""From what a DAG says to the request that AWS gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_automl import contract
from airflow_automl.contract import documents
from airflow_automl.contract.files import json_or_literal, parse_json, parse_yaml
from airflow_automl.contract.model import CREATE_OPERATIONS, Api
from airflow_automl.contract.violations import errors, warnings
from airflow_automl.exceptions import AutoMLValidationError

if TYPE_CHECKING:
    from airflow.sdk.types import Logger


def read_config(text: str, folders: Iterable[str | Path]) -> Any:
    """Read a config that is given as text: a file's path, or what a template rendered to.

    :param text: the path of a ``.json``, ``.yaml`` or ``.yml`` file, absolute or relative to one of the folders; or
        the request itself as JSON or a Python literal.
    :param folders: where relative paths are searched for, in this order.
    :return: the parsed content; strings in it may still be templates.
    :raises AutoMLValidationError: there is no such file, or it can't be parsed.
    """
    if text.lstrip().startswith("{"):
        try:
            return json_or_literal(text)
        except ValueError as error:
            raise _problem(f"is not valid: {error}: {text[:80]!r}") from None
    if not text.endswith((".json", ".yaml", ".yml")):
        raise _problem(f"is a string that names no .json, .yaml or .yml file: {text[:200]!r}")
    candidates = [Path(folder, text) for folder in folders]
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        searched = ", ".join(str(candidate) for candidate in candidates)
        raise _problem(f"{text!r} does not exist; searched {searched}")
    content = path.read_text(encoding="utf-8")
    try:
        return parse_json(content) if path.suffix == ".json" else parse_yaml(content)
    except ValueError as error:
        raise _problem(f"{path} can't be parsed: {error}") from error


def api_of(request: Any, wanted: Api | None) -> Api:
    """Return the API version that a request is for.

    :param wanted: the version that the operator requires, or ``None``.
    :raises AutoMLValidationError: the request is not a mapping, or of the other version.
    """
    if not isinstance(request, Mapping):
        raise _problem(f"expected the request as a dict, received {type(request).__name__}: {request!r:.80}")
    if wanted is None and not {"AutoMLProblemTypeConfig", "AutoMLJobInputDataConfig", "InputDataConfig"} & set(request):
        raise _problem(
            "the API version is not clear: a V2 request has AutoMLJobInputDataConfig and AutoMLProblemTypeConfig, "
            f"a V1 request InputDataConfig; this one has {', '.join(map(str, request)) or 'nothing'}"
        )
    api: Api = documents.api_version(request)
    if wanted is None:
        return api
    if wanted == "V1" and api == "V2":
        raise _problem("is a V2 request; use SageMakerAutoMLJobV2Operator or SageMakerAutoMLJobOperator")
    if wanted == "V2" and api == "V1" and "InputDataConfig" in request:
        raise _problem("is a V1 request; use SageMakerAutoMLJobV1Operator or SageMakerAutoMLJobOperator")
    return wanted


def complete(
    api: Api,
    config: Mapping[str, Any],
    *,
    defaults: Mapping[str, Any],
    max_runtime: timedelta | None,
    log: Logger,
) -> dict[str, Any]:
    """Return the request to send: types put back, gaps filled, limits kept, rules checked.

    :param config: the rendered request; it is not changed.
    :param defaults: what the connection's extra ``automl`` says.
    :param max_runtime: the longest that a job may run, if there is a limit.
    :return: the request; without a name, if none is given.
    :raises AutoMLValidationError: all violations at once.
    """
    request: dict[str, Any] = contract.coerce(api, deepcopy(dict(config)))
    if derived := "AutoMLJobName" not in request:
        # The name has a hash of the request, so it is derived after the check.
        request["AutoMLJobName"] = "derived"
    _fill(api, request, defaults)
    _limit_runtime(api, request, max_runtime, log)
    found = contract.check(api, request)
    for violation in warnings(found):
        log.warning("%s", violation)
    if problems := errors(found):
        raise AutoMLValidationError(f"{CREATE_OPERATIONS[api]} request", problems)
    if derived:
        del request["AutoMLJobName"]
    return request


def _fill(api: Api, request: dict[str, Any], defaults: Mapping[str, Any]) -> None:
    def put(path: tuple[str, ...], value: Any) -> None:
        if not value:
            return
        parent: Any = request
        for key in path[:-1]:
            parent = parent.setdefault(key, {})
            if not isinstance(parent, dict):
                return  # the check says what is wrong with it
        parent.setdefault(path[-1], value)

    security = ("AutoMLJobConfig", "SecurityConfig") if api == "V1" else ("SecurityConfig",)
    put(("RoleArn",), defaults.get("role_arn"))
    put(("OutputDataConfig", "S3OutputPath"), defaults.get("output_path"))
    put(("OutputDataConfig", "KmsKeyId"), defaults.get("kms_key_id"))
    put((*security, "VolumeKmsKeyId"), defaults.get("volume_kms_key_id"))
    if defaults.get("subnets") and defaults.get("security_group_ids"):
        vpc = {"SecurityGroupIds": list(defaults["security_group_ids"]), "Subnets": list(defaults["subnets"])}
        put((*security, "VpcConfig"), vpc)
    tags = request.get("Tags") or []
    if isinstance(tags, list) and defaults.get("tags"):
        named = {tag.get("Key") for tag in tags if isinstance(tag, dict)}
        missing = [{"Key": k, "Value": str(v)} for k, v in defaults["tags"].items() if k not in named]
        request["Tags"] = [*tags, *missing]


def _limit_runtime(api: Api, request: dict[str, Any], limit: timedelta | None, log: Logger) -> None:
    """Money is visible: a job without a limit gets the deployment's one, if there is one."""
    parent = _job_config(api, request)
    if (
        parent is None
        or parent.get("GenerateCandidateDefinitionsOnly")
        or request.get("GenerateCandidateDefinitionsOnly")
    ):
        return
    criteria = parent.get("CompletionCriteria") or {}
    if not isinstance(criteria, dict):
        return
    given = criteria.get("MaxAutoMLJobRuntimeInSeconds")
    if limit is None:
        return  # the check warns about a job without a limit (R52)
    seconds = int(limit.total_seconds())
    if given is None or (isinstance(given, int) and given > seconds):
        log.warning(
            "[automl] max_runtime limits the job's runtime to %d s (the request has %s)", seconds, given or "none"
        )
        parent["CompletionCriteria"] = {**criteria, "MaxAutoMLJobRuntimeInSeconds": seconds}


def _job_config(api: Api, request: dict[str, Any]) -> dict[str, Any] | None:
    if api == "V1":
        config = request.setdefault("AutoMLJobConfig", {})
        return config if isinstance(config, dict) else None
    problem = request.get("AutoMLProblemTypeConfig")
    if not isinstance(problem, dict) or len(problem) != 1:
        return None
    config = next(iter(problem.values()))
    return config if isinstance(config, dict) else None


def _problem(text: str) -> AutoMLValidationError:
    return AutoMLValidationError("config", [f"config: {text}"])
