from __future__ import annotations

from tests.unit.operators.conftest import service_models_are_read_once

__all__ = ["service_models_are_read_once"]
