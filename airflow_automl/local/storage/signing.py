"""Signatures of requests to the store: of the service's own, and of clients' that the gate adds a header to."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Any

from airflow_automl.local.storage.client import Credentials

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request,\s*"
    r"SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})"
)
"""The access key, day, region, service, signed headers and signature of an Authorization header."""


def signature_of(
    method: str,
    target: str,
    headers: Mapping[str, str],
    names: str,
    scope: tuple[Credentials, str, str],
    body: bytes = b"",
) -> str:
    """Compute the signature of a client's request again.

    :param target: path and query, as received.
    :param headers: by lower-case name.
    :param names: of the signed headers, separated by semicolons.
    :param scope: credentials, service and region.
    """
    from botocore.awsrequest import AWSRequest

    url = f"http://{headers.get('host', '')}{target}"
    request = AWSRequest(method, url, {name: headers.get(name, "") for name in names.split(";")}, body)
    request.context["timestamp"] = headers.get("x-amz-date", "")
    auth = _auth(*scope)
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))


def _auth(credentials: Credentials, service: str, region: str) -> Any:
    from botocore.auth import S3SigV4Auth, SigV4Auth
    from botocore.credentials import Credentials as Keys

    keys = Keys(credentials.access_key_id, credentials.secret_access_key)
    return (S3SigV4Auth if service == "s3" else SigV4Auth)(keys, service, region)


class Signer:
    """Signs with the one access key that the store knows.

    :param credentials: this key.
    :param region: that the service's own requests name.
    """

    def __init__(self, credentials: Credentials, region: str) -> None:
        self._credentials = credentials
        self._region = region

    def get(self, url: str) -> dict[str, str]:
        """Return the headers of a signed GET request."""
        from botocore.awsrequest import AWSRequest

        request = AWSRequest("GET", url)
        _auth(self._credentials, "s3", self._region).add_auth(request)
        return dict(request.headers.items())

    def authorization(self, method: str, target: str, headers: Mapping[str, str], name: str, value: str) -> str | None:
        """Return the Authorization of a client's request with one more header.

        :param headers: by lower-case name.
        :return: unchanged if the client's own signature is not right; ``None`` if it is not in this header alone.
        """
        found = AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        if found is None or headers.get("x-amz-content-sha256", "").startswith("STREAMING-AWS4-HMAC"):
            return None
        key, _, region, service, names, signature = found.groups()
        scope = self._credentials, service, region
        known = hmac.compare_digest(key.encode(), self._credentials.access_key_id.encode())
        if not known or not hmac.compare_digest(signature, signature_of(method, target, headers, names, scope)):
            return headers["authorization"]
        more = ";".join(sorted([*names.split(";"), name]))
        signed = signature_of(method, target, {**headers, name: value}, more, scope)
        return headers["authorization"].replace(f"={names},", f"={more},").replace(signature, signed)
