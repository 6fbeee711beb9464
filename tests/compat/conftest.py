"""The cells of `requirements/compat.toml`, for `make compat` and the long runs."""

from __future__ import annotations

from typing import Any

import pytest

from tools import compat


def cell_parameters() -> list[Any]:
    """All cells, as parameters of a test or fixture."""
    return [pytest.param(name, marks=pytest.mark.slow, id=name) for name in compat.cells()]
