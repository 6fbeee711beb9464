"""A job's report: what the service says about it, gathered into one document and shown on one page.

``document`` is made of the service's answers, ``insights`` reads the reports of the candidate in S3, ``plots`` draws,
``page`` renders, ``sections`` has what only one problem type shows. None of them imports Airflow or an AWS client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_automl._lazy import lazy_exports

if TYPE_CHECKING:
    from airflow_automl.report.document import build
    from airflow_automl.report.page import render

__all__ = ["build", "render"]


__getattr__ = lazy_exports(__name__, {"build": "document", "render": "page"})
