"""Random requests, from valid to completely invalid."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from random import Random
from typing import Any, NamedTuple

from botocore.loaders import Loader

from tests.wire.client import JSON_1_1
from tests.wire.mutations import mutate
from tests.wire.samples import valid_request

_CREATE = {"V1": "CreateAutoMLJob", "V2": "CreateAutoMLJobV2"}
_HEADERS = ("Authorization", "X-Amz-Date", "X-Amz-Security-Token", "Accept", "Content-Encoding", "X-Amzn-Trace-Id")
_PATHS = ("/", "/endpoints/x/invocations", "/endpoints//invocations", "/endpoints/%00/invocations", "/a/b?c=d", "/%ff")
_METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")


class Shot(NamedTuple):
    """A request, and whether its outcome is known in advance.

    :param kind: for the figures.
    :param accepted: whether the request must be accepted (``True``), refused (``False``), or either (``None``).
    """

    kind: str
    body: bytes
    headers: Mapping[str, str]
    accepted: bool | None = None
    method: str = "POST"
    path: str = "/"


def shoot(random: Random, number: int) -> Shot:
    """Draw the n-th shot; the names of its jobs contain the number."""
    kinds: Mapping[Callable[[Random, str], Shot], int] = {
        _valid: 25,
        _mutated: 25,
        _operated_on: 15,
        _any_operation: 12,
        _flipped: 8,
        _garbage: 8,
        _misaddressed: 7,
    }
    kind = random.choices(list(kinds), list(kinds.values()))[0]
    return kind(random, f"fuzz-{number}")


def _to(operation: str, body: bytes, kind: str, *, accepted: bool | None = None) -> Shot:
    return Shot(kind, body, {"X-Amz-Target": f"SageMaker.{operation}", "Content-Type": JSON_1_1}, accepted)


def _valid(random: Random, name: str) -> Shot:
    api: Any = random.choice(["V1", "V2"])
    request = valid_request(random, api, name, fullness=random.choice([0, 0.3, 0.7, 1]))
    return _to(_CREATE[api], json.dumps(request).encode(), "valid", accepted=True)


def _mutated(random: Random, name: str) -> Shot:
    api: Any = random.choice(["V1", "V2"])
    request = mutate(random, api, valid_request(random, api, name)).request
    return _to(_CREATE[api], json.dumps(request).encode(), "mutated", accepted=False)


def _operated_on(random: Random, name: str) -> Shot:
    """A valid request with some of its values exchanged for anything."""
    api: Any = random.choice(["V1", "V2"])
    request: Any = valid_request(random, api, name)
    for _ in range(random.randint(1, 4)):
        _exchange(random, request)
    return _to(_CREATE[api], json.dumps(request).encode(), "operated on")


def _exchange(random: Random, value: Any) -> None:
    while isinstance(value, dict | list) and value:
        key = random.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if not isinstance(value[key], dict | list) or not value[key] or random.random() < 0.25:
            value[key] = anything(random)
            return
        value = value[key]


def _any_operation(random: Random, _: str) -> Shot:
    operation, members = random.choice(_operations())
    request = {name: anything(random) for name in members if random.random() < 0.4}
    return _to(operation, json.dumps(request).encode(), "any operation")


def _flipped(random: Random, name: str) -> Shot:
    api: Any = random.choice(["V1", "V2"])
    body = bytearray(json.dumps(valid_request(random, api, name)).encode())
    for _ in range(random.randint(1, 8)):
        place = random.randrange(len(body))
        if random.random() < 0.5:
            body[place] ^= 1 << random.randrange(8)
        else:
            del body[place : place + random.randint(1, 20)]
            body = body or bytearray(b"{")
    return _to(_CREATE[api], bytes(body), "flipped")


def _garbage(random: Random, _: str) -> Shot:
    return _to(
        random.choice(list(_CREATE.values())), random.randbytes(random.randint(1, 2000)), "garbage", accepted=False
    )


def _misaddressed(random: Random, _: str) -> Shot:
    target = random.choice(
        ["SageMaker.", "SageMaker.Nothing", "SageMaker", "sagemaker.CreateAutoMLJob", "", _token(random), None]
    )
    headers = {name: _token(random) for name in _HEADERS if random.random() < 0.3}
    if target is not None:
        headers["X-Amz-Target"] = target
    body = random.choice([b"", b"{}", random.randbytes(50)])
    return Shot("misaddressed", body, headers, None, random.choice(_METHODS), random.choice(_PATHS))


def _token(random: Random) -> str:
    return "".join(chr(random.choice([*range(33, 127), *range(160, 256)])) for _ in range(random.randint(1, 40)))


def anything(random: Random, depth: int = 0) -> Any:
    """Any JSON value, edge cases more often."""
    if depth < 4 and random.random() < 0.3:
        if random.random() < 0.5:
            return [anything(random, depth + 1) for _ in range(random.randint(0, 4))]
        return {_text(random): anything(random, depth + 1) for _ in range(random.randint(0, 4))}
    return random.choice([None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**40, 0.5, 1e308, -0.0, _text(random)])


def _text(random: Random) -> str:
    return random.choice(
        [
            "",
            " ",
            "a",
            "name-1",
            "s3://bucket/key",
            "\x00",
            "a\nb",
            "ä中\U0001f600",
            "\u202e",
            "x" * 5000,
            "${jndi:x}",
            "' OR 1=1 --",
            "../../etc",
            "arn:aws:sagemaker:us-east-1:123456789012:automl-job/x",
            "NaN",
            "1e999",
            "2026-01-01T00:00:00Z",
            "9999-99-99",
        ]
    )


@cache
def _operations() -> list[tuple[str, list[str]]]:
    model = Loader().load_service_model("sagemaker", "service-2")
    found = []
    for name, operation in model["operations"].items():
        shape = model["shapes"][operation["input"]["shape"]] if "input" in operation else {"members": {}}
        ours = any(word in name for word in ("AutoML", "Model", "Endpoint", "Transform", "Tags"))
        # What the service offers itself, or might, is called more often than the hundreds of others.
        found += [(name, list(shape["members"]))] * (5 if ours else 1)
    return found
