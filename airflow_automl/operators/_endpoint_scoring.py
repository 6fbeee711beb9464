"""Score a deployed champion now: send it labelled rows, and measure what it answers."""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_automl.contract.files import json_or_literal
from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.scoring import NUMBER_METRICS, PROBABILITY_METRICS, class_metrics, label_of, number_metrics

if TYPE_CHECKING:
    from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook

RESPONSE_HINT = "deploy it with response=['predicted_label', 'probabilities', 'labels']"

#: An endpoint takes 6 MB and 60 s a call; all rows together are held in memory.
_BYTES_PER_CALL, _ROWS_PER_CALL, _BYTES = 1_000_000, 2_000, 200_000_000
_MEMBERS = {"TabularJobConfig": "TargetAttributeName", "TextClassificationJobConfig": "TargetLabelColumn"}
_OUTPUT = "SAGEMAKER_INFERENCE_OUTPUT"


class Columns(NamedTuple):
    """Which columns of the data are not the model's to see.

    :param target: the truth.
    :param weight: the rows' weights in training, if there are any.
    """

    target: str
    weight: str | None = None


class UnscorableChampion(AutoMLValidationError):
    """The endpoint does not answer what the metric is computed from; only another deployment changes that."""


def _wrong(problem: str) -> AutoMLValidationError:
    return AutoMLValidationError("champion_data", [f"champion_data: {problem}"])


def columns_of(describe: Mapping[str, Any]) -> Columns:
    """Read which columns an AutoML job learned, from an answer of DescribeAutoMLJob(V2).

    :raises AutoMLValidationError: its problem is none that rows of a table can be sent for.
    """
    config: Mapping[str, Any] = describe.get("AutoMLProblemTypeConfig") or {}
    for member, key in _MEMBERS.items():
        if target := (config.get(member) or {}).get(key):
            return Columns(str(target), config[member].get("SampleWeightAttributeName"))
    for channel in describe.get("InputDataConfig") or ():
        if channel.get("TargetAttributeName"):
            return Columns(str(channel["TargetAttributeName"]), channel.get("SampleWeightAttributeName"))
    kind = next(iter(config), "unknown").removesuffix("JobConfig")
    raise _wrong(
        f"a champion can be scored for tabular data and text classification, and this job's problem is {kind}; leave "
        "champion_data away to compare with the metrics in the champion's tags"
    )


def score_champion(
    hook: SageMakerAutoMLDeploymentHook,
    endpoint: str,
    config: Mapping[str, Any],
    data: str,
    columns: Columns,
    metric: str,
) -> tuple[dict[str, float], int]:
    """Send the rows to the endpoint, and return its metrics and how many rows they are of.

    Operations: DescribeModel, InvokeEndpoint; ListBucket and GetObject for the data.

    :param config: the config that the endpoint serves, as described.
    :param data: S3 prefix or object: CSV with a header, plain or gzipped.
    :param metric: the one that is asked for; it tells whether this is a regression.
    :raises UnscorableChampion: the endpoint does not answer what the metric needs.
    :raises AutoMLValidationError: the data or the endpoint's answers can't be read.
    """
    variant = max(config["ProductionVariants"], key=lambda each: each.get("InitialVariantWeight", 1.0))
    target_variant = variant["VariantName"] if len(config["ProductionVariants"]) > 1 else None
    keys = _answered(hook.describe_model(variant["ModelName"]) or {})
    needed = ["predicted_label", *(("probabilities", "labels") if metric in PROBABILITY_METRICS else ())]
    if missing := [key for key in needed if key not in keys]:
        problem = f"endpoint {endpoint} answers {', '.join(keys)}; {metric} needs {', '.join(missing)} too"
        raise UnscorableChampion("champion_data", [f"champion_data: {problem}; {RESPONSE_HINT}"])
    truth: list[str] = []
    answers: list[list[str]] = []
    for body, actual in _batches(hook, data, columns):
        answer = hook.invoke_endpoint(endpoint, body.encode(), "text/csv", "text/csv", target_variant=target_variant)
        rows = [row for row in csv.reader(io.StringIO(answer.decode())) if row]
        if len(rows) != len(actual) or any(len(row) != len(keys) for row in rows):
            raise _wrong(
                f"endpoint {endpoint} answered {len(actual)} rows with {len(rows)} lines of "
                f"{len(rows[0]) if rows else 0} values; expected {', '.join(keys)} for each"
            )
        truth += actual
        answers += rows
    if not truth:
        raise _wrong(f"there are no rows with a {columns.target} at {data}")
    return _measure(endpoint, metric, keys, truth, answers), len(truth)


def _answered(model: Mapping[str, Any]) -> list[str]:
    """Return what the model's last container answers, in this order."""
    containers = model.get("Containers") or [model.get("PrimaryContainer") or {}]
    output = (containers[-1].get("Environment") or {}).get(_OUTPUT, "")
    return [key.strip() for key in output.split(",") if key.strip()] or ["predicted_label"]


def _batches(hook: Any, data: str, columns: Columns) -> Iterator[tuple[str, list[str]]]:
    buffer, actual = io.StringIO(), []
    writer = csv.writer(buffer, lineterminator="\n")
    for row in _rows(hook, data, columns):
        writer.writerow(row[1:])
        actual.append(row[0])
        if len(actual) >= _ROWS_PER_CALL or buffer.tell() >= _BYTES_PER_CALL:
            yield buffer.getvalue(), actual
            buffer, actual = io.StringIO(), []
            writer = csv.writer(buffer, lineterminator="\n")
    if actual:
        yield buffer.getvalue(), actual


def _rows(hook: Any, data: str, columns: Columns) -> Iterator[list[str]]:
    """Yield the truth and then what the model sees of each row whose truth is known."""
    for address, text in _objects(hook, data):
        reader = csv.reader(io.StringIO(text, newline=""))
        header = next(reader, [])
        if columns.target not in header:
            raise _wrong(f"{address} has no column {columns.target!r}; it has: {', '.join(header[:20]) or 'none'}")
        target = header.index(columns.target)
        hidden = {target, header.index(columns.weight) if columns.weight in header else target}
        for number, row in enumerate(reader, start=2):
            if not row:
                continue
            if len(row) != len(header):
                raise _wrong(f"line {number} of {address} has {len(row)} values, its header {len(header)}")
            if row[target].strip():
                yield [row[target], *(value for index, value in enumerate(row) if index not in hidden)]


def _objects(hook: Any, data: str) -> Iterator[tuple[str, str]]:
    from airflow_automl.hooks.storage import Storage

    storage = Storage(hook)
    found = storage.find(data)
    if not found:
        raise _wrong(f"there is nothing at {data}")
    if sum(found.values()) > _BYTES:
        raise _wrong(f"{data} has more than {_BYTES // 1_000_000} MB; name a smaller sample of labelled rows")
    for address in sorted(found):
        raw = storage.read(address)
        if not raw:
            continue
        try:
            yield address, (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
        except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
            raise _wrong(f"{address} is no CSV in UTF-8: {error}") from error


def _measure(
    endpoint: str, metric: str, keys: Sequence[str], truth: Sequence[str], answers: Sequence[Sequence[str]]
) -> dict[str, float]:
    said = [row[keys.index("predicted_label")] for row in answers]
    if metric in NUMBER_METRICS:
        return number_metrics([_number(value) for value in truth], [_number(value) for value in said])
    probabilities, labels = None, []
    if "probabilities" in keys and "labels" in keys:
        labels = [label_of(str(name)) for name in _list(endpoint, answers[0][keys.index("labels")])]
        probabilities = [[float(each) for each in _list(endpoint, row[keys.index("probabilities")])] for row in answers]
    return class_metrics([*map(label_of, truth)], [*map(label_of, said)], probabilities, labels)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _wrong(f"{text[:60]!r} is not a number, but the metric is one of a regression")
    return number


def _list(endpoint: str, text: str) -> list[Any]:
    with suppress(ValueError):
        if isinstance(value := json_or_literal(text), list):
            return value
    raise _wrong(f"endpoint {endpoint} answered {text[:60]!r} where a list was expected")
