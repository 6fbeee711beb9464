"""EfficientNet-Lite0 as an ONNX model, built from its published weights; its output are 1,280 features of an image."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from airflow_automl.local.training.engines.classification.head import Head
from airflow_automl.local.training.engines.image.onnx_graph import Graph

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
    """The network up to its pooled features, or with a head on them.

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
    """A block that widens, convolves each channel by itself, and narrows; with a bypass where the shape stays."""
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
    """A convolution with its normalization folded in.

    :return: the output, and its height and width.
    """
    kernel = state[f"{convolution}.weight"]
    scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + _EPSILON)
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    after = -(-size // stride)
    # TensorFlow's "same" padding, which the weights were trained with: what is odd goes to the right and the bottom.
    total = max((after - 1) * stride + kernel.shape[2] - size, 0)
    pads = [total // 2, total // 2, total - total // 2, total - total // 2]
    return graph.convolution(value, kernel * scale[:, None, None, None], bias, stride, pads, groups), after


def _relu6(graph: Graph, value: str) -> str:
    return graph.node("Clip", [value, graph.constant(0.0), graph.constant(6.0)])
