"""Errors as a person reads them."""

from __future__ import annotations

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from airflow_automl.exceptions import AutoMLAccessDenied, AutoMLError, AutoMLJobNotFound, AutoMLTransientError
from airflow_automl.plugin.account import NoSuchConnection
from airflow_automl.plugin.rights import Denied

#: Seconds after which a failed page reloads.
_AGAIN = 10


def explained(error: Exception) -> tuple[int, str, str, int | None]:
    """Return status, title, text, and the seconds after which trying again may help."""
    if isinstance(error, Denied):
        return 403, "Access denied", str(error), None
    if isinstance(error, RequestValidationError):
        problems = "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors())
        return 400, "This address is not complete", problems, None
    if isinstance(error, HTTPException):
        if error.status_code == 401:
            return 401, "You are not logged in", "Log in to Airflow and open this page again.", None
        if error.detail == "Not Found":
            return 404, "There is no such page", "Open the list of AutoML jobs.", None
        return error.status_code, "This did not work", str(error.detail), None
    if isinstance(error, AutoMLJobNotFound):
        return 404, "There is no such job", str(error), _AGAIN
    if isinstance(error, NoSuchConnection):
        return 404, "No such connection", str(error), _AGAIN
    if isinstance(error, AutoMLAccessDenied):
        return 502, "AWS refused the connection", str(error), _AGAIN
    if isinstance(error, AutoMLTransientError):
        return 503, "SageMaker does not answer", f"{error}. This page tries again by itself.", _AGAIN
    if isinstance(error, AutoMLError):
        return 502, "SageMaker refused the request", str(error), _AGAIN
    return 500, "Something went wrong here", "The log of Airflow's API server says what.", None
