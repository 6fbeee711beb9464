"""The cells of `requirements/compat.toml`, for `make compat` and the long runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tools import compat

# Airflow has many processes, and each would compile all of its imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def cell_parameters(quick: tuple[str, ...] = ()) -> list[Any]:
    """All cells, as parameters of a test or fixture.

    :param quick: the cells that ``make test`` also runs.
    """
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow, id=name) for name in compat.cells()]


def programs(name: str) -> Path:
    """Make a cell's environment, and return its folder of programs; skip the test if its interpreter is missing."""
    try:
        return compat.environment(compat.cells()[name])
    except compat.Missing as error:
        pytest.skip(str(error))
