"""EfficientNet-Lite0 with frozen ImageNet weights as a feature extractor, with a logistic regression."""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from airflow_automl.local.models import weights
from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.engines.classification.approach import (
    Approach,
    Head,
    Samples,
    fit_embedded,
    open_session,
)
from airflow_automl.local.training.engines.course import Clock
from airflow_automl.local.training.engines.image import network
from airflow_automl.local.training.engines.image.data import opened
from airflow_automl.local.training.engines.image.network import Graph, Network

_MAGIC = 0x1950A86A20F9469CFC6C
_TYPES: dict[str, np.dtype[Any]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _Tensor:
    def __init__(self, storage: tuple[str, str], offset: int, shape: Any, stride: Any, *_: Any) -> None:
        self.kind, self.key = storage
        self.offset, self.shape, self.stride = offset, tuple(shape), tuple(stride)

    def array(self, numbers: np.ndarray) -> np.ndarray:
        size = numbers.itemsize
        view = np.lib.stride_tricks.as_strided(
            numbers[self.offset :], self.shape, [step * size for step in self.stride], writeable=False
        )
        return view.copy()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _TYPES:
            return name
        raise pickle.UnpicklingError(f"the checkpoint asks for {module}.{name}, which is not allowed")

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        # ("storage", type, key, device, count, view)
        if not (isinstance(pid, tuple) and len(pid) == 6 and pid[0] == "storage" and pid[5] is None):
            raise pickle.UnpicklingError("the checkpoint has a storage of an unknown kind")
        return str(pid[1]), str(pid[2])


def read_state(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a checkpoint.

    :param path: the file; its digest must have been verified.
    :return: name → array.
    :raises ValueError: the file is of another format.
    """
    with path.open("rb") as file:
        try:
            if _Unpickler(file).load() != _MAGIC:
                raise ValueError(f"{path} is not a checkpoint in PyTorch's format from before 1.6")
            for _ in ("version", "machine"):
                _Unpickler(file).load()
            tensors = _Unpickler(file).load()
            keys = _Unpickler(file).load()
        except (pickle.UnpicklingError, EOFError, TypeError) as error:
            raise ValueError(f"{path} can't be read as a checkpoint: {error}") from error
        kinds = {entry.key: _TYPES[entry.kind] for entry in tensors.values()}
        numbers: dict[str, np.ndarray] = {}
        for key in keys:
            (count,) = struct.unpack("<q", file.read(8))
            kind = kinds[key]
            numbers[key] = np.frombuffer(file.read(count * kind.itemsize), dtype=kind)
    return {name: entry.array(numbers[entry.key]) for name, entry in tensors.items()}


SIZE = 224
FEATURES = 1280

_EPSILON = 1e-3
_MEAN, _DEVIATION = 127.0, 128.0

# Repeats, kernel, stride of the first, expansion, output channels of each stage (Tan and Le 2019, without squeeze and
# excitation, with the first and the last stage not scaled: the "Lite" variant).
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

State = Mapping[str, np.ndarray]


def build(state: State, head: Head | None = None) -> bytes:
    """Return the network up to its pooled features, or with a head on them.

    :param state: the weights, by the names that the checkpoint gives them.
    :param head: turns features into probabilities.
    :return: an ONNX model: ``images`` (any number, 224 by 224 pixels, 3 channels, values 0 to 255) → 1,280 features, or
        probabilities.
    """
    graph = Graph("images", ["batch", SIZE, SIZE, 3])
    value = graph.node("Sub", [graph.input, graph.constant(_MEAN)])
    value = graph.node("Div", [value, graph.constant(_DEVIATION)])
    value = graph.node("Transpose", [value], {"perm": [0, 3, 1, 2]})
    value, size = _block(graph, state, value, "_conv_stem", "_bn0", SIZE, stride=2)
    value = _relu6(graph, value)
    number, channels = 0, 32
    for repeats, kernel, first_stride, expansion, outputs in _STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            value, size = _inverted(graph, state, value, f"_blocks.{number}", size, kernel, stride, expansion, channels)
            number, channels = number + 1, outputs
    value, _ = _block(graph, state, value, "_conv_head", "_bn1", size)
    value = graph.node("GlobalAveragePool", [_relu6(graph, value)])
    features = graph.node("Flatten", [value], {"axis": 1})
    if head is None:
        return graph.model(features, ["batch", FEATURES])
    return graph.model(graph.classifier(features, head.weights, head.bias), ["batch", len(head.bias)])


def _inverted(
    graph: Graph, state: State, value: str, name: str, size: int, kernel: int, stride: int, expansion: int, inputs: int
) -> tuple[str, int]:
    """Add an inverted residual block: expansion, depthwise convolution, projection; a bypass if the shape is kept."""
    start = value
    if expansion > 1:
        value, _ = _block(graph, state, value, f"{name}._expand_conv", f"{name}._bn0", size)
        value = _relu6(graph, value)
    value, after = _block(
        graph, state, value, f"{name}._depthwise_conv", f"{name}._bn1", size, stride, inputs * expansion
    )
    value, _ = _block(graph, state, _relu6(graph, value), f"{name}._project_conv", f"{name}._bn2", after)
    outputs = state[f"{name}._project_conv.weight"].shape[0]
    if stride == 1 and outputs == inputs:
        value = graph.node("Add", [value, start])
    return value, after


def _block(
    graph: Graph, state: State, value: str, convolution: str, norm: str, size: int, stride: int = 1, groups: int = 1
) -> tuple[str, int]:
    """Add a convolution with its batch normalization folded in; return the output, its height and width."""
    kernel = state[f"{convolution}.weight"]
    scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + _EPSILON)
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    after = -(-size // stride)
    # TensorFlow's "same" padding, as in training: an odd pixel is at the right and the bottom.
    total = max((after - 1) * stride + kernel.shape[2] - size, 0)
    pads = [total // 2, total // 2, total - total // 2, total - total // 2]
    return graph.convolution(value, kernel * scale[:, None, None, None], bias, stride, pads, groups), after


def _relu6(graph: Graph, value: str) -> str:
    return graph.node("Clip", [value, graph.constant(0.0), graph.constant(6.0)])


_BATCH = 16
_STRENGTHS = (0.001, 0.01, 0.1, 1.0)


class Backbone(Approach):
    """Features of the frozen network and a logistic regression."""

    name = "efficientnet-lite0"
    weights = (name,)

    def train(self, samples: Samples, clock: Clock, threads: int) -> Network:
        state = read_state(weights.locate(self.name))
        session = open_session(build(state), threads)

        def embed(files: Sequence[Path], limit: Clock) -> tuple[np.ndarray, np.ndarray]:
            order, found = np.random.default_rng(SEED).permutation(len(files)), [np.empty((0, FEATURES), "float32")]
            for start in range(0, len(files), _BATCH):
                if limit.passed:
                    break
                batch = [opened(files[position]) for position in order[start : start + _BATCH]]
                found.append(network.run(session, batch))
            features = np.concatenate(found)
            return features, order[: len(features)]

        fitted, learned = fit_embedded(embed, samples, _STRENGTHS, clock, scaled=True)
        notes = []
        if learned < len(samples.train):
            notes.append(
                f"{self.name} learned from {learned} of {len(samples.train)} images: its time limit was reached."
            )
        settings = {"backbone": self.name, "strength": fitted.strength}
        return Network(fitted.probabilities, settings, notes, build(state, fitted.head), threads)
