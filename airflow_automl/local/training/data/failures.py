"""The error that ends a job as ``Failed``, and lists of names for its message."""

from airflow_automl.local.errors import JobFailure, listing

__all__ = ["JobFailure", "listing"]
