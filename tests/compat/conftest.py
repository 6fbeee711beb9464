"""The cells: the lowest and the newest run each time, the others in the long runs and in `make compat`."""

from __future__ import annotations

from typing import Any

import pytest

from tools import compat

FIRST_AND_LAST = ("lowest", "newest")


def cell_parameters() -> list[Any]:
    """All cells, as parameters of a test or fixture."""
    return [
        pytest.param(name, marks=[] if name in FIRST_AND_LAST else pytest.mark.slow, id=name) for name in compat.cells()
    ]
