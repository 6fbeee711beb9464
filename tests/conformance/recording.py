"""Recordings of answers, without the values that differ from run to run, and their comparison."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FORMAT = 1

_ACCOUNT = re.compile(r"(arn:aws[a-z-]*:[a-z-]+:)([a-z0-9-]*):(\d{12}|):")
_MEASURED = re.compile(r"\.(Value)$")


@dataclass(frozen=True)
class Call:
    """One call and its answer.

    :param label: its place in the sequence, such as ``V2 Tabular/describe``.
    :param status: the HTTP status.
    :param error: the error's name, empty for a success.
    :param message: the error's message, for people; it is not compared.
    :param fields: path → value, volatile values replaced by ``<…>``.
    """

    label: str
    operation: str
    status: int
    error: str = ""
    message: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recording:
    """The answers of one run.

    :param about: where and when it was made.
    """

    about: dict[str, str]
    calls: list[Call]

    def save(self, path: Path) -> None:
        document = {"format": FORMAT, "about": self.about, "calls": [asdict(call) for call in self.calls]}
        path.write_text(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Recording:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.get("format") != FORMAT:
            raise ValueError(
                f"{path} has format {document.get('format')!r}; this release reads {FORMAT}: record it again"
            )
        return cls(document["about"], [Call(**call) for call in document["calls"]])


class Normaliser:
    """Replaces the values in answers that differ from run to run.

    :param names: text → what stands for it, such as the run's prefix of names and the bucket.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = dict(sorted(names.items(), key=lambda item: -len(item[0])))

    def fields(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return an answer as path → value, without its metadata."""
        members = {key: value for key, value in answer.items() if key != "ResponseMetadata"}
        return {path: self._value(path, value) for path, value in _leaves(members)}

    def text(self, value: str) -> str:
        """Replace values of this run in a text."""
        for name, stands_for in self._names.items():
            value = value.replace(name, stands_for)
        return _ACCOUNT.sub(r"\1<region>:<account>:", value)

    def _value(self, path: str, value: Any) -> Any:
        if isinstance(value, datetime):
            return "<time>"
        if path == "NextToken":
            return "<token>"
        if _MEASURED.search(path) and isinstance(value, float):
            return "<number>"
        return self.text(value) if isinstance(value, str) else value


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        if value.get("AutoMLJobStatus") == "InProgress":
            # The phase of a running job depends on the service's speed.
            value = {**value, "AutoMLJobSecondaryStatus": "<phase>"}
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        if path.endswith("Tags"):
            value = sorted(value, key=lambda tag: str(tag["Key"]))  # they have no order
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    elif path:
        yield path, value


def differences(ours: Recording, theirs: Recording) -> list[str]:
    """Compare call by call and field by field; one line for each difference."""
    found = []
    theirs_by_label = {call.label: call for call in theirs.calls}
    for call in ours.calls:
        other = theirs_by_label.pop(call.label, None)
        if other is None:
            found.append(f"{call.label}: only in the first recording")
            continue
        if (call.status, call.error) != (other.status, other.error):
            found.append(f"{call.label}: {_outcome(call)} against {_outcome(other)}")
            continue
        for path in sorted(call.fields.keys() | other.fields.keys()):
            mine, his = (each.fields.get(path, _ABSENT) for each in (call, other))
            if mine != his:
                found.append(f"{call.label}: {path}: {_show(mine)} against {_show(his)}")
    return found + [f"{label}: only in the second recording" for label in theirs_by_label]


_ABSENT = object()


def _show(value: Any) -> str:
    return "absent" if value is _ABSENT else json.dumps(value, ensure_ascii=False)


def _outcome(call: Call) -> str:
    return f"{call.status} {call.error} ({call.message[:200]})" if call.error else str(call.status)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
