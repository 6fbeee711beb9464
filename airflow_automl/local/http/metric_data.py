"""GetMetricData and GetMetricStatistics of CloudWatch, over the metrics that moto stores.

moto itself knows no percentiles and no pages, returns nothing for what it does not know, and skips a minute that
StartTime cuts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from moto.cloudwatch.exceptions import InvalidParameterCombination, InvalidParameterValue, ValidationError
from moto.cloudwatch.models import MetricAggregatedDatum, cloudwatch_backends
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import ActionResult

from airflow_automl.local.serving.metrics import STATISTICS, Sums, percentile_of

NAMESPACE = "AWS/SageMaker"
#: How long a metric of an endpoint is stored.
_KEPT = timedelta(days=1)
_POINTS = 100_800
_UNITS = {"ModelLatency": "Microseconds"}


class _Counted(MetricAggregatedDatum):  # type: ignore[misc,unused-ignore]
    """Values of which more than their sums is known."""

    buckets: Counter[float]


def store(account: str, region: str, taken: Sequence[tuple[int, str, str, Sums]]) -> None:
    """Store metrics of variants: minute in epoch seconds, ``ENDPOINT/VARIANT``, name and sums."""
    stored = cloudwatch_backends[account][region].metric_data
    for minute, owner, name, sums in taken:
        kinds = zip(("EndpointName", "VariantName"), owner.split("/"), strict=True)
        datum = _Counted(
            NAMESPACE,
            name,
            sums.least,
            sums.most,
            sums.samples,
            sums.total,
            [{"Name": kind, "Value": value} for kind, value in kinds],
            # As moto reads the times of requests: in UTC, without a zone.
            datetime(1970, 1, 1) + timedelta(seconds=minute),
            _UNITS.get(name, "None"),
        )
        datum.buckets = sums.buckets
        stored.append(datum)
    if taken:
        old = stored[-1].timestamp - _KEPT
        stored[:] = [each for each in stored if each.namespace != NAMESPACE or each.timestamp > old]


def install() -> None:
    """Let moto answer with the two operations of this module."""
    for operation in (_get_metric_data, _get_metric_statistics):
        setattr(CloudWatchResponse, operation.__name__.removeprefix("_"), operation)


def _sums(datum: Any) -> Sums:
    if not isinstance(datum, MetricAggregatedDatum):
        return Sums(1, datum.value, datum.value, datum.value, Counter({datum.value: 1}))
    buckets = Counter[float]()
    if isinstance(datum, _Counted):
        buckets = datum.buckets
    elif datum.min == datum.max:
        # Of sums alone, only equal values have percentiles.
        buckets[datum.min] = int(datum.sample_count)
    return Sums(datum.sample_count, datum.sum, datum.min, datum.max, buckets)


def _periods(
    backend: Any, given: Mapping[str, Any], begin: datetime, end: datetime, period: int
) -> Iterator[tuple[datetime, str, Sums]]:
    """The periods in which a metric has data: their start, the unit, and their sums."""
    if period not in (1, 5, 10, 30) and (period < 60 or period % 60):
        raise ValidationError(f"Period {period} is not valid: use 1, 5, 10, 30 or a multiple of 60.")
    # Minutes are whole, also the first one.
    step = timedelta(seconds=period)
    begin = begin.replace(microsecond=0, second=begin.second - begin.second % min(period, 60))
    wanted = sorted((each["Name"], each["Value"]) for each in given.get("Dimensions", ()))
    found: dict[tuple[datetime, str], Sums] = {}
    for datum in backend.get_all_metrics():
        same = (datum.namespace, datum.name) == (given["Namespace"], given["MetricName"])
        if not same or not begin <= datum.timestamp < end or given.get("Unit", datum.unit) != datum.unit:
            continue
        if sorted((each.name, each.value) for each in datum.dimensions) == wanted:
            at = begin + (datum.timestamp - begin) // step * step
            known = found.setdefault((at, datum.unit or "None"), Sums())
            known.merge(_sums(datum))
    for (at, unit), sums in sorted(found.items(), key=lambda each: each[0]):
        yield at, unit, sums


def _get_metric_data(self: Any) -> Any:
    params = self._get_params()
    begin, end = params["StartTime"], params["EndTime"]
    if begin >= end:
        raise ValidationError("The parameter EndTime must be greater than StartTime.")
    points = []
    results = []
    for number, query in enumerate(params.get("MetricDataQueries", ()), 1):
        where = f"The parameter MetricDataQueries.member.{number}"
        if "MetricStat" not in query:
            reason = "is not supported: ask for MetricStat." if "Expression" in query else "is required."
            raise ValidationError(f"{where}.{'Expression' if 'Expression' in query else 'MetricStat'} {reason}")
        asked = query["MetricStat"]
        stat = asked["Stat"]
        if stat not in STATISTICS and percentile_of(stat) is None:
            raise ValidationError(f"{where}.MetricStat.Stat {stat!r} is not supported: {_KNOWN}.")
        unit = {"Unit": asked["Unit"]} if asked.get("Unit") else {}
        found = _periods(self.cloudwatch_backend, asked["Metric"] | unit, begin, end, int(asked["Period"]))
        values = [(at, value) for at, _, sums in found if (value := sums.statistic(stat)) is not None]
        if params.get("ScanBy") != "TimestampAscending":
            values.reverse()
        if query.get("ReturnData", True):
            label = query.get("Label") or f"{asked['Metric']['MetricName']} {stat}"
            results.append(
                {"Id": query["Id"], "Label": label, "StatusCode": "Complete", "Timestamps": [], "Values": []}
            )
            points += [(results[-1], *value) for value in values]
    token = params.get("NextToken") or "0"
    if not token.isdecimal():
        raise InvalidParameterValue(f"The NextToken {token!r} is not valid: give one that this operation returned.")
    first = int(token)
    last = first + min(int(params.get("MaxDatapoints") or _POINTS), _POINTS)
    for result, at, value in points[first:last]:
        result["Timestamps"].append(at)
        result["Values"].append(value)
    for result, *_ in points[last:]:
        result["StatusCode"] = "PartialData"
    return ActionResult({"MetricDataResults": results, "NextToken": str(last) if last < len(points) else None})


def _get_metric_statistics(self: Any) -> Any:
    params = self._get_params()
    plain, extended = params.get("Statistics") or [], params.get("ExtendedStatistics") or []
    if not plain and not extended:
        raise InvalidParameterCombination("Must specify either Statistics or ExtendedStatistics")
    wrong = [stat for stat in plain if stat not in STATISTICS]
    wrong += [stat for stat in extended if percentile_of(stat) is None]
    if wrong:
        raise InvalidParameterValue(f"The statistic {wrong[0]!r} is not supported: {_KNOWN}.")
    if params["StartTime"] >= params["EndTime"]:
        raise InvalidParameterValue("The parameter StartTime must be less than the parameter EndTime.")
    points = []
    for at, unit, sums in _periods(
        self.cloudwatch_backend, params, params["StartTime"], params["EndTime"], int(params["Period"])
    ):
        point = {"Timestamp": at, "Unit": unit, **{stat: sums.statistic(stat) for stat in plain}}
        shares = {stat: value for stat in extended if (value := sums.statistic(stat)) is not None}
        points.append(point | ({"ExtendedStatistics": shares} if shares else {}))
    return ActionResult({"Label": params["MetricName"], "Datapoints": points})


_KNOWN = f"it knows {', '.join(STATISTICS)}, and percentiles from p0 to p100, such as p99.9"
