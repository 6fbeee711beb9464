"""One view of requests of both versions, so that a rule is written once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cached_property
from typing import Any

from airflow_automl.contract.model import Api
from airflow_automl.contract.values import CONTENT_TYPES, DEFAULT_CHANNEL_TYPE, PROBLEM_CONFIGS, TABULAR_PROBLEM_TYPES


class Node:
    """An object inside a request together with its path.

    Missing members and members of a wrong type read as absent: rules check well-formed members only.
    """

    __slots__ = ("body", "path", "present")

    def __init__(self, path: str, value: Any) -> None:
        self.path = path
        self.present = isinstance(value, Mapping)
        self.body: Mapping[Any, Any] = value if isinstance(value, Mapping) else {}

    def at(self, name: str) -> str:
        """Return the path of a member, there or not."""
        return f"{self.path}.{name}" if self.path else name

    def has(self, name: str) -> bool:
        """Return whether a member is given, in any form."""
        return name in self.body

    def get(self, name: str) -> Any:
        """Return a member unchanged."""
        return self.body.get(name)

    def node(self, name: str) -> Node:
        """Return an object below."""
        return Node(self.at(name), self.body.get(name))

    def text(self, name: str) -> str | None:
        """Return a string."""
        value = self.body.get(name)
        return value if isinstance(value, str) else None

    def number(self, name: str) -> int | float | Decimal | None:
        """Return a finite number."""
        value = self.body.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            return None
        finite = value.is_finite() if isinstance(value, Decimal) else isinstance(value, int) or math.isfinite(value)
        return value if finite else None

    def integer(self, name: str) -> int | None:
        """Return an integer."""
        value = self.body.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def items(self, name: str) -> list[Any] | tuple[Any, ...]:
        """Return a list, empty if there is none."""
        value = self.body.get(name)
        return value if isinstance(value, list | tuple) else ()

    def nodes(self, name: str) -> list[Node]:
        """Return the entries of a list of objects."""
        return [Node(f"{self.at(name)}[{index}]", item) for index, item in enumerate(self.items(name))]

    def texts(self, name: str) -> Iterator[tuple[str, str]]:
        """Return path and value of each string in a list."""
        for index, item in enumerate(self.items(name)):
            if isinstance(item, str):
                yield f"{self.at(name)}[{index}]", item


class JobRequest:
    """A CreateAutoMLJob (V1) or CreateAutoMLJobV2 (V2) request.

    :ivar root: the request itself.
    :ivar problem: ``Tabular`` for V1; for V2 the one problem that AutoMLProblemTypeConfig names, else ``None``.
    :ivar config: where Mode and CompletionCriteria are: AutoMLJobConfig (V1), the problem's configuration (V2).
    """

    def __init__(self, api: Api, request: Any) -> None:
        self.api = api
        self.root = Node("", request)
        self.problem: str | None = "Tabular"
        self.config = self.root.node("AutoMLJobConfig")
        if api == "V2":
            union = self.root.node("AutoMLProblemTypeConfig")
            known = [name for name in union.body if isinstance(name, str) and name in PROBLEM_CONFIGS]
            alone = len(known) == 1 and len(union.body) == 1
            self.problem = PROBLEM_CONFIGS[known[0]] if alone else None
            self.config = union.node(known[0]) if alone else Node(union.path, None)

    @cached_property
    def channels_path(self) -> str:
        """The name of the list of channels."""
        return "InputDataConfig" if self.api == "V1" else "AutoMLJobInputDataConfig"

    @cached_property
    def channels(self) -> list[Node]:
        """The channels."""
        return self.root.nodes(self.channels_path)

    @cached_property
    def sources(self) -> list[tuple[Node, Node]]:
        """Each channel with its S3DataSource."""
        return [(channel, channel.node("DataSource").node("S3DataSource")) for channel in self.channels]

    @cached_property
    def pair(self) -> tuple[Node, Node] | None:
        """The first two channels, if one of them is for training and the other for validation."""
        if len(self.channels) < 2:
            return None
        first, second = self.channels[:2]
        types = {self.channel_type(first), self.channel_type(second)}
        return (first, second) if types == {"training", "validation"} else None

    def channel_type(self, channel: Node) -> str | None:
        """Return ChannelType, its default if it is not given (R9)."""
        return channel.text("ChannelType") if channel.has("ChannelType") else DEFAULT_CHANNEL_TYPE

    def content_type(self, channel: Node) -> str | None:
        """Return ContentType, the problem's default if it is not given."""
        if channel.has("ContentType") or self.problem is None:
            return channel.text("ContentType")
        return CONTENT_TYPES[self.problem][0]

    @cached_property
    def validation_channel(self) -> Node | None:
        """The first channel for validation."""
        return next((channel for channel in self.channels if self.channel_type(channel) == "validation"), None)

    @cached_property
    def completion(self) -> Node:
        """CompletionCriteria."""
        return self.config.node("CompletionCriteria")

    @cached_property
    def security(self) -> Node:
        """SecurityConfig."""
        return (self.config if self.api == "V1" else self.root).node("SecurityConfig")

    @cached_property
    def split(self) -> Node:
        """DataSplitConfig."""
        return (self.config if self.api == "V1" else self.root).node("DataSplitConfig")

    @cached_property
    def deployment(self) -> Node:
        """ModelDeployConfig."""
        return self.root.node("ModelDeployConfig")

    @cached_property
    def generation(self) -> Node:
        """CandidateGenerationConfig."""
        return self.config.node("CandidateGenerationConfig")

    @cached_property
    def objective(self) -> Node:
        """AutoMLJobObjective."""
        return self.root.node("AutoMLJobObjective")

    @cached_property
    def statement(self) -> Node:
        """Where ProblemType and GenerateCandidateDefinitionsOnly are: the request (V1), TabularJobConfig (V2)."""
        return self.root if self.api == "V1" else self.config

    @cached_property
    def problem_type(self) -> str | None:
        """The tabular ProblemType that is given."""
        given = self.statement.text("ProblemType") if self.problem == "Tabular" else None
        return given if given in TABULAR_PROBLEM_TYPES else None

    @cached_property
    def automatic(self) -> bool:
        """Whether the size of tabular data will choose the mode: AUTO, or no Mode."""
        return self.problem == "Tabular" and (not self.config.has("Mode") or self.config.get("Mode") == "AUTO")

    @cached_property
    def definitions_only(self) -> bool:
        """Whether candidate definitions are all that is asked for."""
        return self.problem == "Tabular" and self.statement.get("GenerateCandidateDefinitionsOnly") is True

    @cached_property
    def weighted(self) -> list[tuple[Node, str | None]]:
        """Where a sample weight column is named, each with the target that belongs to it."""
        if self.problem != "Tabular":
            return []
        holders = self.channels if self.api == "V1" else [self.config]
        return [
            (holder, holder.text("TargetAttributeName"))
            for holder in holders
            if holder.text("SampleWeightAttributeName") is not None
        ]

    @cached_property
    def algorithms(self) -> list[tuple[str, str]]:
        """Path and name of each algorithm in AlgorithmsConfig."""
        return [
            found for entry in self.generation.nodes("AlgorithmsConfig") for found in entry.texts("AutoMLAlgorithms")
        ]
