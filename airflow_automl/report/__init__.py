"""A job's report: what the service says about it, gathered into one document and shown on one page.

``document`` is made of the service's answers, ``insights`` reads what lies beside the candidate in S3, ``plots`` draws,
``page`` renders, ``sections`` has what only one problem type shows. None of them imports Airflow or an AWS client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_automl.report.document import build
    from airflow_automl.report.page import render

__all__ = ["build", "render"]


def __getattr__(name: str) -> Any:
    if name == "build":
        return importlib.import_module(f"{__name__}.document").build
    if name == "render":
        return importlib.import_module(f"{__name__}.page").render
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
