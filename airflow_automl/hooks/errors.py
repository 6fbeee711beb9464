"""AWS's error answers as the errors of this package."""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError

from airflow_automl.exceptions import (
    AutoMLAccessDenied,
    AutoMLError,
    AutoMLJobNotFound,
    AutoMLNameTaken,
    AutoMLQuotaExceeded,
    AutoMLThrottled,
    AutoMLTransientError,
    AutoMLValidationError,
)

__all__ = ["CALL_ERRORS", "automl_error", "error_code", "is_throttled"]

#: What a call raises, boto3's or aiobotocore's; the last one for an answer that can't be read.
CALL_ERRORS = (ClientError, BotoCoreError, ResponseParserError)

_DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "OptInRequired",
        "SignatureDoesNotMatch",
        "UnauthorizedOperation",
        "UnrecognizedClientException",
    }
)
_THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottledException",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)


def error_code(error: BaseException) -> str:
    """Return the service's code of an error, such as ``ResourceInUse``; empty where there is none."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return ""
    return str(response.get("Error", {}).get("Code", ""))


def is_throttled(error: BaseException) -> bool:
    """Tell whether the service asked to slow down."""
    if error_code(error) in _THROTTLED:
        return True
    response = getattr(error, "response", None)
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
    return status == 429


def automl_error(error: ClientError | BotoCoreError | ResponseParserError) -> AutoMLError:
    """Return the error of this package that says what AWS answered.

    :param error: what boto3 or aiobotocore raised.
    :return: an error whose type tells whether to try again; its message is the service's own text.
    """
    code = error_code(error)
    if isinstance(error, ClientError):
        message = str(error.response.get("Error", {}).get("Message") or error)
        if code in _DENIED:
            return AutoMLAccessDenied(f"{code}: {message}")
        if code == "ResourceNotFound":
            return AutoMLJobNotFound(message)
        if code == "ResourceInUse":
            return AutoMLNameTaken(message)
        if code == "ResourceLimitExceeded":
            return AutoMLQuotaExceeded(message)
        if code in {"SerializationException", "UnknownOperationException", "ValidationException"}:
            return AutoMLValidationError(f"{error.operation_name} request", [f"{message} [{code}]"])
        if is_throttled(error):
            return AutoMLThrottled(f"{code}: {message}")
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return AutoMLAccessDenied(f"{error}; give the AWS connection a login, a password or a role")
    if isinstance(error, NoRegionError):
        return AutoMLValidationError(
            "AWS connection", ["region_name: is not set; set it in the connection's extra or as region_name="]
        )
    if isinstance(error, ParamValidationError):
        return AutoMLValidationError("AWS request", [str(error)])
    return AutoMLTransientError(f"{type(error).__name__}: {error}")
