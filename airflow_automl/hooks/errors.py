"""The one table of errors: what AWS, botocore and the Airflow connection answer, as errors of this package.

Workers, triggers, the retry policy and every wait decide by the types that this module returns: a subclass of
:class:`~airflow_automl.exceptions.AutoMLTransientError` may pass, one of
:class:`~airflow_automl.exceptions.AutoMLTerminalError` does not.
"""

from __future__ import annotations

import re
import time
from typing import Any

import botocore
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.parsers import ResponseParserError

from airflow_automl.exceptions import (
    AutoMLAccessDenied,
    AutoMLConnectionError,
    AutoMLError,
    AutoMLJobNotFound,
    AutoMLNameTaken,
    AutoMLQuotaExceeded,
    AutoMLTerminalError,
    AutoMLThrottled,
    AutoMLTransientError,
    AutoMLValidationError,
    error_code,
)

#: The exceptions of a call; the last one for an answer that can't be parsed.
CALL_ERRORS = (ClientError, BotoCoreError, ResponseParserError)
#: Seconds for which an unusable connection is read again: rotations and outages of a secrets backend take a while.
CONNECTION_GRACE = 300.0

#: The credentials are unknown or expired: new ones may help, unlike with a policy that forbids a call.
_STALE = re.compile(
    "ExpiredToken|RequestExpired|InvalidClientTokenId|UnrecognizedClient|InvalidSignature|IncompleteSignature|"
    "SignatureDoesNotMatch|InvalidAccessKeyId|InvalidToken|TokenRefreshRequired"
)
_DENIED = re.compile(f"{_STALE.pattern}|AccessDenied|MissingAuthenticationToken|OptInRequired|Unauthorized")
_THROTTLED = re.compile("Throttl|SlowDown|TooManyRequests|RequestLimitExceeded|BandwidthLimitExceeded|^LimitExceeded")
_INVALID = frozenset({"SerializationException", "UnknownOperationException", "ValidationException"})
#: Transient codes of any HTTP status.
_TRANSIENT = re.compile(
    "Conflict|Concurrent|OperationAborted|Internal|RequestTimeout|RequestTimeTooSkewed|ServiceUnavailable|ModelError|"
    "ModelNotReady|IDPCommunicationError"
)


def _status(error: BaseException) -> int:
    response = getattr(error, "response", None)
    found = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
    return found if isinstance(found, int) else 0


def is_throttled(error: BaseException) -> bool:
    """Return whether the service asked to slow down."""
    return bool(_THROTTLED.search(error_code(error))) or _status(error) == 429


def automl_error(error: ClientError | BotoCoreError | ResponseParserError) -> AutoMLError:
    """Return the error of this package that says what AWS answered.

    :param error: what boto3 or aiobotocore raised.
    :return: an error whose type decides whether to try again; its message is the service's own text.
    """
    code = error_code(error)
    if isinstance(error, ClientError):
        message = str(error.response.get("Error", {}).get("Message") or error)
        if _DENIED.search(code):
            return AutoMLAccessDenied(f"{code}: {message}")
        if code == "ResourceNotFound":
            return AutoMLJobNotFound(message)
        if code == "ResourceInUse":
            return AutoMLNameTaken(message)
        if code == "ResourceLimitExceeded":
            return AutoMLQuotaExceeded(message)
        if code in _INVALID:
            return AutoMLValidationError(f"{error.operation_name} request", [f"{message} [{code}]"])
        if is_throttled(error):
            return AutoMLThrottled(f"{code}: {message}")
        if 400 <= _status(error) < 500 and not _TRANSIENT.search(code):
            return AutoMLTerminalError(f"{code}: {message}")
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return AutoMLAccessDenied(f"{error}; give the AWS connection a login, a password or a role")
    if isinstance(error, NoRegionError):
        return AutoMLValidationError(
            "AWS connection", ["region_name: is not set; set it in the connection's extra or as region_name="]
        )
    if isinstance(error, (InvalidRegionError, ParamValidationError, ProfileNotFound)):
        problem = str(error)
        if "Unknown parameter" in problem:
            problem += (
                f" (botocore {botocore.__version__} does not know it; remove it, or install a newer botocore: on a "
                "managed Airflow, name a newer apache-airflow-providers-amazon in requirements.txt)"
            )
        return AutoMLValidationError("AWS request", [problem])
    return AutoMLTransientError(f"{type(error).__name__}: {error}")


class ConnectionHealth:
    """How long an Airflow connection has been unusable, and whether its errors are final.

    :param connection: the connection's id, for messages.
    """

    def __init__(self, connection: str | None) -> None:
        self._connection = connection
        self._useless_since: float | None = None

    def succeeded(self) -> None:
        """Note that a call was answered."""
        self._useless_since = None

    def is_stale(self, error: BaseException) -> bool:
        """Return whether a client with credentials that are read again may succeed."""
        return bool(_STALE.search(error_code(error)))

    def refused(self, error: ClientError | BotoCoreError | ResponseParserError, client: Any = None) -> AutoMLError:
        """Return what the error of a call means: stale credentials are transient for :data:`CONNECTION_GRACE`.

        :param client: the client that made the call.
        """
        refusal = automl_error(error)
        if isinstance(refusal, AutoMLJobNotFound) and client is not None:
            where = f"region {client.meta.region_name}, connection {self._connection!r}"
            return AutoMLJobNotFound(f"{refusal} ({where})")
        return AutoMLTransientError(str(refusal)) if self.is_stale(error) and self._may_recover() else refusal

    def unreadable(self, error: Exception) -> AutoMLError:
        """Return what it means that no client can be made of the connection: transient for :data:`CONNECTION_GRACE`."""
        if isinstance(error, CALL_ERRORS):
            return self.refused(error)
        message = f"Airflow connection {self._connection!r} can't be used: {type(error).__name__}: {error}"
        return AutoMLTransientError(message) if self._may_recover() else AutoMLConnectionError(message)

    def _may_recover(self) -> bool:
        now = time.monotonic()
        if self._useless_since is None:
            self._useless_since = now
        return now - self._useless_since <= CONNECTION_GRACE
