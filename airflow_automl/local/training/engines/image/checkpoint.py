"""Reads a PyTorch checkpoint of plain tensors without PyTorch, and without running anything that it says.

The format (before 1.6) is five pickles in a row: a magic number, a version, facts on the machine, the object, the keys
of its storages; then each storage's numbers. Of the names that a pickle may ask for, those that make a dictionary of
tensors are known here, and no others.
"""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_TYPES: dict[str, np.dtype[Any]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _Tensor:
    """A tensor whose numbers are still to come."""

    def __init__(self, storage: tuple[str, str], offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.kind, self.key = storage
        self.offset, self.shape, self.stride = offset, shape, stride

    def array(self, numbers: np.ndarray) -> np.ndarray:
        """The tensor over its storage."""
        size = numbers.itemsize
        view = np.lib.stride_tricks.as_strided(
            numbers[self.offset :], self.shape, [step * size for step in self.stride], writeable=False
        )
        return view.copy()


def _tensor(storage: Any, offset: int, shape: Any, stride: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(stride))


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _TYPES:
            return name
        raise pickle.UnpicklingError(f"the checkpoint asks for {module}.{name}, which is not allowed")

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        # ("storage", type, key, device, count, view)
        if not (isinstance(pid, tuple) and len(pid) == 6 and pid[0] == "storage" and pid[5] is None):
            raise pickle.UnpicklingError("the checkpoint has a storage of an unknown kind")
        return str(pid[1]), str(pid[2])


def read_state(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint.

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
