"""A retry policy that distinguishes transient and terminal errors."""

from __future__ import annotations

from datetime import timedelta

from airflow_automl.compat import ExceptionRetryPolicy, RetryAction, RetryRule
from airflow_automl.exceptions import (
    AutoMLQuotaExceeded,
    AutoMLTerminalError,
    AutoMLThrottled,
    AutoMLTransientError,
)

__all__ = ["automl_retry_policy"]


def automl_retry_policy(
    delay: timedelta = timedelta(minutes=1), quota_delay: timedelta = timedelta(minutes=10)
) -> ExceptionRetryPolicy:
    """Return a policy for ``retry_policy=``: terminal errors fail the task, transient errors are retried.

    Anything else (a killed worker, an error of another package) follows the task's own ``retries`` and ``retry_delay``,
    which also bound the tries of this policy.

    :param delay: how long to wait after throttling, a lost connection or an error of the service.
    :param quota_delay: how long to wait after ``ResourceLimitExceeded``.
    """
    return ExceptionRetryPolicy(
        rules=[
            RetryRule(AutoMLQuotaExceeded, RetryAction.RETRY, quota_delay, "the account's quota is used up"),
            RetryRule(AutoMLThrottled, RetryAction.RETRY, delay, "the service throttled the call"),
            RetryRule(AutoMLTransientError, RetryAction.RETRY, delay, "the service or the connection failed"),
            RetryRule(AutoMLTerminalError, RetryAction.FAIL, None, "trying again would fail the same way"),
        ]
    )
