"""The keys of encrypted objects: all derive from one key, which is in the store's folder.

SeaweedFS encrypts with ``AES256`` by itself, and asks AWS KMS for a data key for each object with ``aws:kms``.
:class:`DataKeys` answers in its place: a key ID that a client names is a name for a key of the folder.
"""

from __future__ import annotations

import hmac
import json
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from airflow_automl.local.errors import StartupError
from airflow_automl.local.files import write_private

_NONCE = 32


class DataKeys:
    """Answers GenerateDataKey, Decrypt and DescribeKey as AWS KMS does, for the store alone.

    A data key is the HMAC of its key ID and of a random number: nothing is kept, and nothing is lost with a restart.

    :param folder: the store's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def key(self) -> bytes:
        """The key that all others derive from.

        :raises StartupError: see :func:`encryption_key`.
        """
        return encryption_key(self._folder)

    @cached_property
    def access_key_id(self) -> str:
        """The secret with which the store signs its requests."""
        return hmac.digest(self.key, b"access key of the store", "sha256").hex()

    def asked(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request is for keys."""
        return headers.get("x-amz-target", "").startswith("TrentService.")

    def answer(self, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Answer a request for keys.

        :return: an HTTP status and a body.
        """
        signer = headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]
        if not hmac.compare_digest(signer.encode(), self.access_key_id.encode()):
            return 400, b'{"__type": "AccessDeniedException", "message": "Only the store asks for its keys here."}'
        operation = headers["x-amz-target"].partition(".")[2]
        return 200, json.dumps(self._result(operation, json.loads(body))).encode()

    def _result(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        if operation == "DescribeKey":
            state = {"KeyState": "Enabled", "KeyUsage": "ENCRYPT_DECRYPT", "Origin": "AWS_KMS"}
            return {"KeyMetadata": {"KeyId": asked["KeyId"], "Arn": asked["KeyId"], **state}}
        if operation == "GenerateDataKey":
            blob = secrets.token_bytes(_NONCE) + asked["KeyId"].encode()
        else:
            blob = b64decode(asked["CiphertextBlob"])
        return {
            "KeyId": blob[_NONCE:].decode(),
            "CiphertextBlob": b64encode(blob).decode(),
            "Plaintext": b64encode(hmac.digest(self.key, b"data key" + blob, "sha256")).decode(),
        }


def encryption_key(folder: Path) -> bytes:
    """Return the 256-bit key that encrypted objects of a store depend on; it is made at random once.

    :param folder: the store's folder, which keeps the key in ``encryption.json``.
    :raises StartupError: the file is there and can't be read. A new key would make encrypted objects unreadable.
    """
    path = folder / "encryption.json"
    try:
        return bytes.fromhex(json.loads(path.read_text())["key"])
    except FileNotFoundError:
        key = secrets.token_bytes(32)
        write_private(path, {"key": key.hex()})
        return key
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StartupError(
            f"{path} can't be read ({error}). It holds the key of encrypted objects; restore it from a backup."
        ) from error
