"""What an endpoint for text generation is asked: prompts and parameters, as the containers on AWS take them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from airflow_automl.local.errors import listing
from airflow_automl.local.models.payloads import PayloadError
from airflow_automl.local.training.engines.generation.language_model import Sampling

MAX_PROMPTS = 64
_DEFAULT_NEW_TOKENS = 100
_MAX_STOPS = 16


class _Range(NamedTuple):
    kind: type
    lowest: float
    highest: float
    open: bool = False

    def take(self, name: str, value: Any) -> Any:
        """The value, checked."""
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if number and self.kind is int:
            number = float(value).is_integer()
        if not number or not (self.lowest < value if self.open else self.lowest <= value) or value > self.highest:
            bound = f"above {self.lowest:g} and at most" if self.open else f"from {self.lowest:g} to"
            what = "a whole number" if self.kind is int else "a number"
            raise PayloadError(f"The parameter {name} must be {what} {bound} {self.highest:g}, not {_show(value)}.")
        return self.kind(value)


_NUMBERS = {
    "max_new_tokens": _Range(int, 1, 1 << 20),
    "temperature": _Range(float, 0, 100, open=True),
    "top_p": _Range(float, 0, 1, open=True),
    "top_k": _Range(int, 1, 1 << 20),
    "repetition_penalty": _Range(float, 0, 10, open=True),
    "seed": _Range(int, 0, (1 << 63) - 1),
}
_SWITCHES = ("do_sample", "return_full_text")
_PARAMETERS = (*_NUMBERS, *_SWITCHES, "stop")


@dataclass(frozen=True)
class Request:
    """One request.

    :param prompts: what is to be answered.
    :param parameters: the checked parameters.
    """

    prompts: tuple[str, ...]
    parameters: Mapping[str, Any]

    @property
    def max_new_tokens(self) -> int:
        """Tokens of one answer, at most."""
        return int(self.parameters.get("max_new_tokens", _DEFAULT_NEW_TOKENS))

    @property
    def full_text(self) -> bool:
        """Whether the answer begins with the prompt."""
        return bool(self.parameters.get("return_full_text", False))

    def sampling(self, seconds: float | None) -> Sampling:
        """How to generate; who sets a parameter of the draw wants one.

        :param seconds: after which it is cut off.
        """
        given = self.parameters
        drawing = any(name in given for name in ("temperature", "top_p", "top_k"))
        return Sampling(
            max_new_tokens=self.max_new_tokens,
            sample=bool(given.get("do_sample", drawing)),
            temperature=given.get("temperature", 1.0),
            top_p=given.get("top_p", 1.0),
            top_k=given.get("top_k", 0),
            repetition_penalty=given.get("repetition_penalty", 1.0),
            seed=given.get("seed"),
            seconds=seconds,
        )

    def finish(self, text: str) -> str:
        """A generated text up to the first of the stop texts."""
        ends = [at for stop in self.parameters.get("stop", ()) if (at := text.find(stop)) >= 0]
        return text[: min(ends)] if ends else text


def read(document: Any) -> Request:
    """Check a request.

    :param document: ``{"inputs": text or list of texts, "parameters": {…}}``; ``text_inputs``, as some model families
        have it on AWS, means the same as ``inputs``.
    :raises PayloadError: it has another shape, or a parameter that is unknown or out of its range.
    """
    shape = '{"inputs": "…", "parameters": {"max_new_tokens": 64}}'
    if not isinstance(document, dict):
        raise PayloadError(f"The body must be an object such as {shape}, not {type(document).__name__}.")
    members = [name for name in ("inputs", "text_inputs") if name in document]
    unknown = [name for name in document if name not in ("inputs", "text_inputs", "parameters")]
    if len(members) != 1 or unknown:
        what = f"has the unknown {listing(unknown)}" if unknown else f"needs 'inputs', once; it has {listing(document)}"
        raise PayloadError(f"The body {what}; send {shape}.")
    inputs = document[members[0]]
    prompts = inputs if isinstance(inputs, list) else [inputs]
    if not prompts or not all(isinstance(prompt, str) and prompt.strip() for prompt in prompts):
        raise PayloadError(f"'{members[0]}' must be a text or a list of texts, none of them empty.")
    if len(prompts) > MAX_PROMPTS:
        raise PayloadError(f"'{members[0]}' has {len(prompts)} prompts; at most {MAX_PROMPTS} are answered at once.")
    return Request(tuple(prompts), _parameters(document.get("parameters")))


def _parameters(given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise PayloadError(f"'parameters' must be an object, not {type(given).__name__}.")
    unknown = [name for name in given if name not in _PARAMETERS]
    if unknown:
        raise PayloadError(f"There is no parameter {listing(unknown)}; there are {listing(_PARAMETERS)}.")
    found: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in _NUMBERS:
            found[name] = _NUMBERS[name].take(name, value)
        elif name in _SWITCHES:
            if not isinstance(value, bool):
                raise PayloadError(f"The parameter {name} must be true or false, not {_show(value)}.")
            found[name] = value
        else:
            stops = value if isinstance(value, list) else [value]
            if len(stops) > _MAX_STOPS or not all(isinstance(stop, str) and stop for stop in stops):
                raise PayloadError(f"The parameter stop must be a text or a list of at most {_MAX_STOPS} texts.")
            found[name] = stops
    return found


def _show(value: Any) -> str:
    return repr(value)[:60]
