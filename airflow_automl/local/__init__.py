"""The embedded Autopilot: a local service with the API of Amazon SageMaker Autopilot, which trains real models."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """``artifacts`` was here in the first version; nothing is loaded before it is asked for."""
    if name != "artifacts":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from airflow_automl.local.models import artifacts

    return artifacts
