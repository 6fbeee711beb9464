"""The columns that a request names must be in the data (R26)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airflow_automl.local.training.data.csv_file import separator_hint
from airflow_automl.local.training.data.failures import JobFailure, listing

__all__ = ["require"]


def require(columns: Sequence[str], uri: str, roles: Mapping[str, str]) -> None:
    """Refuse data that lack a column.

    :param columns: what the data have.
    :param uri: where they lie.
    :param roles: what a column is for, such as ``target`` → its name.
    :raises JobFailure: a column is not there; the message names the ones that are, and what may have been meant.
    """
    for role, column in roles.items():
        if column in columns:
            continue
        alike = [other for other in columns if other.lower() == column.strip().lower()]
        hint = f" Did you mean '{alike[0]}'?" if alike else separator_hint(columns)
        raise JobFailure(
            f"The {role} column '{column}' is not in the data at {uri}; its columns are {listing(columns)}.{hint}"
        )
