"""SigV4 signatures of requests, computed again with botocore's own signer and compared."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow_automl.local.errors import ServiceError
from airflow_automl.local.http.messages import Request
from airflow_automl.local.storage.signing import AUTHORIZATION, signature_of

if TYPE_CHECKING:
    from airflow_automl.local.storage.client import Credentials

_MAX_SKEW = timedelta(minutes=15)


class Signatures:
    """Lets only requests through that are signed with the configured credentials.

    :param credentials: the access key and its secret.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def check_headers(self, headers: Mapping[str, str]) -> tuple[str, str, str, str]:
        """Check all of a signature that takes no body.

        :return: its region, service, the names of the signed headers, and the signature itself.
        :raises ServiceError: with the error that AWS answers, HTTP 403.
        """
        authorization = headers.get("authorization")
        if not authorization:
            raise _refused("MissingAuthenticationTokenException", "the request is not signed (no Authorization header)")
        match = AUTHORIZATION.fullmatch(authorization)
        if match is None:
            raise _refused("IncompleteSignatureException", "the Authorization header is not an AWS Signature Version 4")
        key, day, region, service, signed_headers, signature = match.groups()
        if not hmac.compare_digest(key.encode(), self._credentials.access_key_id.encode()):
            raise _refused("UnrecognizedClientException", "the security token included in the request is invalid")
        timestamp = headers.get("x-amz-date", "")
        if not _fresh(timestamp, day):
            raise _refused("InvalidSignatureException", f"the signature's time {timestamp!r} is missing or expired")
        return region, service, signed_headers, signature

    def check(self, request: Request) -> None:
        """Check a request's signature.

        :raises ServiceError: with the error that AWS answers, HTTP 403.
        """
        region, service, signed_headers, signature = self.check_headers(request.headers)
        # The signature covers this header, so it must be the hash of the received body.
        claimed = request.headers.get("x-amz-content-sha256")
        if claimed is not None and claimed != hashlib.sha256(request.body).hexdigest():
            raise _refused("InvalidSignatureException", "x-amz-content-sha256 is not the SHA-256 of the body")
        target = request.raw_path + (f"?{request.query}" if request.query else "")
        scope = self._credentials, service, region
        expected = signature_of(request.method, target, request.headers, signed_headers, scope, request.body)
        if not hmac.compare_digest(signature, expected):
            raise _refused(
                "InvalidSignatureException",
                "the request signature we calculated does not match the signature you provided; "
                "check your secret access key",
            )


def _fresh(timestamp: str, day: str) -> bool:
    try:
        signed = datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    return timestamp.startswith(day) and abs(datetime.now(UTC) - signed) <= _MAX_SKEW


def _refused(code: str, message: str) -> ServiceError:
    return ServiceError(code, message, 403)
