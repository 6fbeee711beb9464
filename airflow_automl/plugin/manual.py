"""The manual DAG's form: filled in with a job's configuration, and read again when it is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_automl.contract import builders, documents, to_v2
from airflow_automl.contract.model import shapes
from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.plugin.account import Source

#: Members that the AWS connection can supply.
_FROM_CONNECTION = frozenset({"OutputDataConfig", "RoleArn", "SecurityConfig"})


#: Fields of the form that a whole request replaces.
_SAID = frozenset(
    {"data", "target", "problem_type", "objective", "mode", "max_candidates", "max_runtime_minutes", "api_version"}
)


def conf_of(describe: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """Return the manual DAG's params that train like this job, in its account.

    The form's own fields describe a tabular job if they can; any other job is passed whole, as ``request``.

    :param describe: the answer of DescribeAutoMLJob or DescribeAutoMLJobV2.
    :param source: the connection and the region that the job was described with.
    """
    answer, v1 = documents.json_safe(describe), documents.api_version(describe) == "V1"
    members = shapes()["CreateAutoMLJobRequest" if v1 else "CreateAutoMLJobV2Request"]["members"]
    # A describe repeats its request.
    wanted = members.keys() - {"AutoMLJobName", "Tags"}
    request = {key: value for key, value in answer.items() if key in wanted and value is not None}
    request = to_v2(request) if v1 else request
    plain = {key: value for key, value in request.items() if key not in _FROM_CONNECTION}
    account = {"connection": source.connection, "region": source.region}
    return account | (_simple(plain) or {"request": request})


def _simple(request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the form's fields that say the same as the request, ``None`` if they can't."""
    tabular = (request.get("AutoMLProblemTypeConfig") or {}).get("TabularJobConfig")
    data = documents.s3_source(next(iter(documents.channels(request)), {})).get("S3Uri")
    if not tabular or not data or "TargetAttributeName" not in tabular:
        return None
    criteria = tabular.get("CompletionCriteria") or {}
    seconds = criteria.get("MaxAutoMLJobRuntimeInSeconds")
    said = builders.tabular(
        data,
        target=tabular["TargetAttributeName"],
        problem_type=tabular.get("ProblemType"),
        objective=(request.get("AutoMLJobObjective") or {}).get("MetricName"),
        mode=tabular.get("Mode"),
        max_candidates=criteria.get("MaxCandidates"),
        max_runtime=seconds,
    )
    if _plain(said) != _plain(request) or not seconds or seconds % 60 or tabular.get("Mode") is None:
        return None
    return {
        "data": data,
        "target": tabular["TargetAttributeName"],
        "problem_type": tabular.get("ProblemType"),
        "objective": (request.get("AutoMLJobObjective") or {}).get("MetricName"),
        "mode": tabular["Mode"],
        "max_candidates": criteria.get("MaxCandidates"),
        "max_runtime_minutes": seconds // 60,
    }


def _plain(request: Mapping[str, Any]) -> Any:
    plain = json.loads(json.dumps(request))
    for channel in plain.get("AutoMLJobInputDataConfig", ()):
        channel.setdefault("ChannelType", "training")
        channel.setdefault("ContentType", "text/csv;header=present")
        channel.setdefault("CompressionType", "None")
        source = channel["DataSource"]["S3DataSource"]
        source.setdefault("S3DataType", "S3Prefix")
    return plain


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    title: str
    description: str
    kind: str  # select, number, checkbox, json or text
    value: str
    options: tuple[tuple[str, str], ...] = ()  # value and label
    required: bool = False


def fields(params: Mapping[str, Mapping[str, Any]], conf: Mapping[str, Any]) -> list[Field]:
    """Lay out a form for a DAG's params.

    :param params: each param's JSON Schema, with its default as ``default``.
    :param conf: the values to fill in; fields that its ``request`` replaces are left out.
    """
    made = []
    for name, schema in params.items():
        if conf.get("request") and name in _SAID:
            continue
        value = conf.get(name, schema.get("default"))
        types = _types(schema)
        kind = _kind(schema, types)
        text = "" if value is None else json.dumps(value, indent=2) if kind == "json" else str(value)
        made.append(
            Field(
                name,
                str(schema.get("title") or name),
                str(schema.get("description") or ""),
                kind,
                text,
                _options(schema),
                "null" not in types and kind not in ("checkbox", "select") and schema.get("default") != "",
            )
        )
    return made


def read(params: Mapping[str, Mapping[str, Any]], sent: Mapping[str, str]) -> dict[str, Any]:
    """Read a form that was sent.

    :param sent: the fields' texts.
    :return: the run's configuration; Airflow checks it against the params.
    :raises AutoMLValidationError: a field can't be read; all of them are named.
    """
    conf: dict[str, Any] = {}
    problems = []
    for name, schema in params.items():
        types = _types(schema)
        if name not in sent and "boolean" not in types:
            continue  # the request replaces it; Airflow takes the param's default
        text = sent.get(name, "").strip()
        try:
            conf[name] = _value(text, _kind(schema, types), types)
        except ValueError:
            problems.append(f"{schema.get('title') or name}: expected {' or '.join(types)}, received {text!r}")
    if problems:
        raise AutoMLValidationError("The form", problems)
    return conf


def _options(schema: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    labels = schema.get("values_display") or {}
    # Airflow's own form looks for the label of an empty choice under "null".
    named = [("", "null") if option is None else (str(option), str(option)) for option in schema.get("enum") or ()]
    return tuple((value, str(labels.get(name, value or "-"))) for value, name in named)


def _types(schema: Mapping[str, Any]) -> list[str]:
    given = schema.get("type") or "string"
    return [given] if isinstance(given, str) else list(given)


def _kind(schema: Mapping[str, Any], types: list[str]) -> str:
    if schema.get("enum"):
        return "select"
    for kind, names in (("json", {"object", "array"}), ("number", {"integer", "number"}), ("checkbox", {"boolean"})):
        if names & set(types):
            return kind
    return "text"


def _value(text: str, kind: str, types: list[str]) -> Any:
    if kind == "checkbox":
        return bool(text)
    if not text and "null" in types:
        return None
    if kind == "json":
        return json.loads(text)
    if "integer" in types:
        return int(text)
    if "number" in types:
        return float(text)
    return text
