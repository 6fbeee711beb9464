"""Convolutional networks as ONNX models: written without a library, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from airflow_automl.local.training.engines.classification.approach import Trained, open_session

_IR_VERSION, _OPSET = 8, 17
_FLOAT = 1
_INT, _INTS = 2, 7
"""AttributeProto.AttributeType."""


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    content = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _tensor(name: str, values: np.ndarray) -> bytes:
    dimensions = b"".join(_number(1, size) for size in values.shape)
    content = np.ascontiguousarray(values, dtype="<f4").tobytes()
    return dimensions + _number(2, _FLOAT) + _bytes(8, name) + _bytes(9, content)


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    if isinstance(value, int):
        return _bytes(1, name) + _number(3, value) + _number(20, _INT)
    return _bytes(1, name) + b"".join(_number(8, each) for each in value) + _number(20, _INTS)


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    """ValueInfoProto of a tensor of floats; a dimension given as text may be of any size."""
    dimensions = b"".join(_bytes(1, _number(1, size) if isinstance(size, int) else _bytes(2, size)) for size in shape)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, _FLOAT) + _bytes(2, dimensions)))


class Graph:
    """A network under construction; every method adds a node and returns the name of its output.

    :param shape: of the input; text stands for any size.
    """

    def __init__(self, name: str, shape: Sequence[int | str]) -> None:
        self.input = name
        self._inputs = _value(name, shape)
        self._nodes: list[bytes] = []
        self._tensors: list[bytes] = []

    def constant(self, values: np.ndarray | float) -> str:
        """Return numbers that belong to the model."""
        name = f"constant{len(self._tensors)}"
        self._tensors.append(_tensor(name, np.asarray(values, dtype="float32")))
        return name

    def node(self, operator: str, inputs: Sequence[str], attributes: Mapping[str, int | Sequence[int]] = {}) -> str:
        """Any operator with one output.

        :param attributes: whole numbers, or lists of them.
        """
        output = f"value{len(self._nodes)}"
        content = b"".join(_bytes(1, each) for each in inputs) + _bytes(2, output) + _bytes(4, operator)
        content += b"".join(_bytes(5, _attribute(key, value)) for key, value in attributes.items())
        self._nodes.append(content)
        return output

    def convolution(
        self,
        value: str,
        kernel: np.ndarray,
        bias: np.ndarray,
        stride: int = 1,
        pads: Sequence[int] = (0, 0, 0, 0),
        groups: int = 1,
    ) -> str:
        """Conv.

        :param value: what goes in.
        :param kernel: outputs by inputs of a group by height by width.
        :param bias: of each output.
        :param stride: in both directions.
        :param pads: top, left, bottom, right.
        :param groups: 1, or as many as there are channels.
        """
        attributes: dict[str, int | Sequence[int]] = {
            "kernel_shape": list(kernel.shape[2:]),
            "strides": [stride, stride],
            "pads": list(pads),
            "group": groups,
        }
        return self.node("Conv", [value, self.constant(kernel), self.constant(bias)], attributes)

    def classifier(self, features: str, weights: np.ndarray, bias: np.ndarray) -> str:
        """Features → the probability of each class.

        :param features: rows by features.
        :param weights: features by classes.
        :param bias: of each class.
        """
        scores = self.node("Gemm", [features, self.constant(weights), self.constant(bias)])
        return self.node("Softmax", [scores], {"axis": 1})

    def model(self, output: str, shape: Sequence[int | str]) -> bytes:
        """Return the finished model.

        :param output: name of the node whose output is the model's.
        :param shape: of that.
        """
        graph = b"".join(_bytes(1, node) for node in self._nodes)
        graph += _bytes(2, "graph") + b"".join(_bytes(5, tensor) for tensor in self._tensors)
        graph += _bytes(11, self._inputs) + _bytes(12, _value(output, shape))
        opset = _bytes(1, "") + _number(2, _OPSET)
        return _number(1, _IR_VERSION) + _bytes(2, "airflow-automl") + _bytes(7, graph) + _bytes(8, opset)


FILE = "model.onnx"

_BATCH = 16


def run(session: Any, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Return what a model answers for some pictures.

    :param session: of a model with the input ``images``.
    :param pictures: 224 by 224 by 3 each, values from 0 to 255.
    """
    answers = [
        session.run(None, {"images": np.stack(pictures[start : start + _BATCH]).astype("float32")})[0]
        for start in range(0, len(pictures), _BATCH)
    ]
    found: np.ndarray = np.concatenate(answers)
    return found


@dataclass(frozen=True)
class Network(Trained):
    """A trained candidate: one ONNX model from pictures to probabilities.

    :param model: the ONNX model.
    """

    model: bytes
    threads: int

    @cached_property
    def _session(self) -> Any:
        return open_session(self.model, self.threads)

    def __getstate__(self) -> dict[str, Any]:
        # A session can't be pickled: another process opens the model again.
        return {name: value for name, value in self.__dict__.items() if name != "_session"}

    def predict(self, items: Sequence[np.ndarray]) -> np.ndarray:
        return run(self._session, items)

    def save(self, folder: Path) -> None:
        (folder / FILE).write_bytes(self.model)

    @classmethod
    def load(cls, folder: Path, threads: int) -> Network:
        """Read what :meth:`save` wrote."""
        return cls(np.empty(0), {}, (), (folder / FILE).read_bytes(), threads)
