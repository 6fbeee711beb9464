"""Signatures of requests to the store: of the service's own, and of clients' that the gate adds a header to."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Any

from airflow_automl.local.storage.client import Credentials

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/\d{8}/([^/,\s]+)/s3/aws4_request,\s*"
    r"SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})"
)


class Signer:
    """Signs with the one access key that the store knows.

    :param credentials: this key.
    :param region: that the service's own requests name.
    """

    def __init__(self, credentials: Credentials, region: str) -> None:
        self._credentials = credentials
        self._region = region

    def _auth(self, region: str) -> Any:
        from botocore.auth import S3SigV4Auth
        from botocore.credentials import Credentials as Keys

        return S3SigV4Auth(Keys(self._credentials.access_key_id, self._credentials.secret_access_key), "s3", region)

    def get(self, url: str) -> dict[str, str]:
        """Return the headers of a signed GET request."""
        from botocore.awsrequest import AWSRequest

        request = AWSRequest("GET", url)
        self._auth(self._region).add_auth(request)
        return dict(request.headers.items())

    def authorization(self, method: str, target: str, headers: Mapping[str, str], name: str, value: str) -> str | None:
        """Return the Authorization of a client's request with one more header.

        :param headers: by lower-case name.
        :return: unchanged if the client's own signature is not right; ``None`` if it is not in this header alone.
        """
        found = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        if found is None or headers.get("x-amz-content-sha256", "").startswith("STREAMING-AWS4-HMAC"):
            return None
        key, region, names, signature = found.groups()
        known = hmac.compare_digest(key.encode(), self._credentials.access_key_id.encode())
        if not known or not hmac.compare_digest(signature, self._signature(method, target, headers, names, region)):
            return headers["authorization"]
        more = ";".join(sorted([*names.split(";"), name]))
        signed = self._signature(method, target, {**headers, name: value}, more, region)
        return headers["authorization"].replace(f"={names},", f"={more},").replace(signature, signed)

    def _signature(self, method: str, target: str, headers: Mapping[str, str], names: str, region: str) -> str:
        from botocore.awsrequest import AWSRequest

        url = f"http://{headers.get('host', '')}{target}"
        request = AWSRequest(method, url, headers={name: headers.get(name, "") for name in names.split(";")})
        request.context["timestamp"] = headers.get("x-amz-date", "")
        auth = self._auth(region)
        return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))
