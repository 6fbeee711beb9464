"""Serves a fine-tuned model: in an endpoint, in a batch transform, or in a Python program.

::

    from airflow_automl.local.models import artifacts

    model = artifacts.load("model.tar.gz")
    model.generate(["What is the capital of France?"], max_new_tokens=50)

The artefact holds only the adapter. The base model is located as for training (``AUTOML_MODEL_DIR`` or a package) and
must have the digest that the adapter was trained on.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.models.artifacts import ArtifactError
from airflow_automl.local.models.payloads import (
    JSON,
    JSON_LINES,
    PayloadError,
    Responses,
    answer_together,
    json_lines,
    media_type,
    parse_json,
    text_of,
)
from airflow_automl.local.models.wire import Payload
from airflow_automl.local.training.engines.generation import base_models
from airflow_automl.local.training.engines.generation.language_model import LanguageModel

MAX_PROMPTS = 64
_DEFAULT_NEW_TOKENS = 100
_MAX_STOPS = 16


class _Range(NamedTuple):
    kind: type
    lowest: float
    highest: float
    open: bool = False

    def take(self, name: str, value: Any) -> Any:
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
        """Return whether the answer begins with the prompt."""
        return bool(self.parameters.get("return_full_text", False))

    @property
    def options(self) -> dict[str, Any]:
        """Return the arguments of :meth:`LanguageModel.generate`; a parameter of sampling implies ``do_sample``."""
        given = {key: value for key, value in self.parameters.items() if key not in ("stop", "return_full_text")}
        sampled = any(name in given for name in ("temperature", "top_p", "top_k"))
        return {"do_sample": sampled, **given, "max_new_tokens": self.max_new_tokens}

    def finish(self, text: str) -> str:
        """Return a generated text up to the first of the stop texts."""
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


MAX_INPUT, MAX_TOTAL = "MAX_INPUT_LENGTH", "MAX_TOTAL_TOKENS"
"""Environment variables of the container: tokens of a prompt, and of prompt and answer together."""

SECONDS = 50.0
"""What one request may take; an endpoint that has not answered after 60 seconds never will."""

_BATCH = 8
"""Prompts that are generated together."""

_TOKENS = 8192
"""Tokens of several requests that are generated together, their padding and answers included."""


class TextGenerator:
    """A base model with its adapter.

    :param model: both, merged.
    :param max_input: tokens of a prompt.
    :param max_total: tokens of prompt and answer together.
    """

    def __init__(self, model: LanguageModel, metadata: Mapping[str, Any], max_input: int, max_total: int) -> None:
        self.metadata = metadata
        self._model = model
        self._max_input = max_input
        self._max_total = max_total

    def generate(self, prompts: Sequence[str], max_new_tokens: int = 100, **parameters: Any) -> list[str]:
        """Return what the model says to some prompts.

        :param prompts: as in the column ``input`` of the training data.
        :param max_new_tokens: at most so many tokens each.
        :param parameters: as an endpoint takes them, such as ``temperature``, ``top_p``, ``seed``, ``stop``.
        :return: one text for each prompt.
        :raises PayloadError: a parameter is unknown or out of its range, or a prompt is too long.
        """
        document = {"inputs": list(prompts), "parameters": {"max_new_tokens": max_new_tokens, **parameters}}
        return self._texts([self._tokens(read(document))], seconds=None)[0]

    def respond(self, requests: Sequence[Payload]) -> Responses:
        """See :class:`airflow_automl.local.models.artifacts.Responder`.

        A JSON document is answered by a list with one object for each prompt; JSON lines by one object for each line.
        """
        return answer_together(requests, self._asked, self._answers, _fit)

    def _asked(self, request: Payload) -> _Asked:
        kind, documents = _documents(request)
        return kind, [self._tokens(document) for document in documents]

    def _answers(self, asked: Sequence[_Asked]) -> Responses:
        try:
            texts = iter(self._texts([each for _, prompts in asked for each in prompts], SECONDS))
        except PayloadError as error:
            # Too slow: an error for all requests of the batch.
            return [error] * len(asked)
        answers = []
        for kind, prompts in asked:
            objects = [{"generated_text": text} for _ in prompts for text in next(texts)]
            lines = b"".join(_encode(entry) + b"\n" for entry in objects)
            answers.append((lines if kind == JSON_LINES else _encode(objects), kind))
        return answers

    def _tokens(self, request: Request) -> _Prompts:
        prompts = [self._model.prompt(prompt) for prompt in request.prompts]
        for number, tokens in enumerate(prompts, 1):
            if len(tokens) > self._max_input:
                raise PayloadError(
                    f"Prompt {number} has {len(tokens)} tokens; at most {self._max_input} are taken ({MAX_INPUT})."
                )
            if len(tokens) + request.max_new_tokens > self._max_total:
                raise PayloadError(
                    f"Prompt {number} has {len(tokens)} tokens and max_new_tokens is {request.max_new_tokens}; "
                    f"together at most {self._max_total} are possible ({MAX_TOTAL})."
                )
        return _Prompts(request, prompts)

    def _texts(self, asked: Sequence[_Prompts], seconds: float | None) -> list[list[str]]:
        """The texts of each request; those that are alike in all but their prompts are generated together."""
        ends = None if seconds is None else time.monotonic() + seconds
        texts: list[list[str]] = []
        groups: list[list[_Prompts]] = []
        for each in asked:
            if groups and _alike([groups[-1][0], each]):
                groups[-1].append(each)
            else:
                groups.append([each])
        for group in groups:
            how, prompts = group[0].request, [tokens for each in group for tokens in each.tokens]
            found: list[str] = []
            for start in range(0, len(prompts), _BATCH):
                left = None if ends is None else ends - time.monotonic()
                tokens = self._model.generate(prompts[start : start + _BATCH], seconds=left, **how.options)
                found += [how.finish(self._model.text(each)) for each in tokens]
                if ends is not None and time.monotonic() > ends:
                    raise PayloadError(
                        f"Generating takes longer than the {SECONDS:.0f} s that a request may take: ask for fewer "
                        "max_new_tokens, or send fewer prompts at once."
                    )
            for each in group:
                own, found = found[: len(each.tokens)], found[len(each.tokens) :]
                full = each.request.full_text
                texts.append([p + t for p, t in zip(each.request.prompts, own, strict=True)] if full else own)
        return texts


class _Prompts(NamedTuple):
    request: Request
    tokens: list[list[int]]


_Asked = tuple[str, list[_Prompts]]
"""The type of an answer, and what it is made of."""


def _fit(asked: Sequence[_Asked]) -> bool:
    """Whether several requests may wait for each other."""
    together = [each for _, prompts in asked for each in prompts]
    prompts = [tokens for each in together for tokens in each.tokens]
    width = max(map(len, prompts)) + together[0].request.max_new_tokens
    return _alike(together) and len(prompts) <= _BATCH and len(prompts) * width <= _TOKENS


def _alike(asked: Sequence[_Prompts]) -> bool:
    """Whether prompts can be answered together: a draw would depend on the prompts beside it."""
    first = asked[0].request
    return not first.options["do_sample"] and all(each.request.parameters == first.parameters for each in asked)


def _documents(request: Payload) -> tuple[str, list[Request]]:
    kind = media_type(request.content_type or JSON)
    if kind not in (JSON, JSON_LINES):
        raise PayloadError(
            f"The model can't read the content type {request.content_type}; it reads {JSON}, {JSON_LINES}."
        )
    wanted = {media_type(part) for part in (request.accept or "*/*").split(",")}
    if not wanted & {"*/*", "application/*", kind}:
        raise PayloadError(f"The model can't answer {request.accept} to {kind}; it answers {kind}.")
    text = text_of(request.body)
    if kind == JSON:
        return kind, [read(parse_json(text))]
    documents = [read(document) for document in json_lines(text)]
    if any(len(document.prompts) > 1 for document in documents):
        raise PayloadError("A line holds one prompt: a list of prompts belongs into a JSON document.")
    return kind, documents


def load_model(
    folder: Path, metadata: Mapping[str, Any], environment: Mapping[str, str], threads: int
) -> TextGenerator:
    """Open an artefact; there is no code in it.

    :param environment: of the container; :data:`MAX_INPUT` and :data:`MAX_TOTAL` may lower what the model takes.
    :param threads: how many threads generating may use.
    :raises ArtifactError: the base model is not here or another one, or a package is missing.
    """
    wanted = metadata["base_model"]
    try:
        base = base_models.find(wanted["name"])
        if base.name != wanted["name"] or base.digest != wanted["digest"]:
            raise ArtifactError(
                f"The adapter was trained on the base model '{wanted['name']}' with the SHA-256 {wanted['digest']}; "
                f"here is '{base.name}' with {base.digest}: register the same weights, or train again."
            )
        model = LanguageModel.load(base.open(), threads)
        from peft import PeftModel

        adapted = PeftModel.from_pretrained(model.network, str(folder), is_trainable=False)
        model.network = adapted.merge_and_unload().eval()
    except JobFailure as failure:
        raise ArtifactError(failure.reason) from failure
    except ModuleNotFoundError as error:
        raise ArtifactError(
            f"A text generation model needs the package {error.name}: run `pip install 'airflow-automl[llm]'`."
        ) from error
    total = _limit(environment, MAX_TOTAL, int(metadata["max_total_tokens"]), model.positions)
    return TextGenerator(model, metadata, _limit(environment, MAX_INPUT, total - 1, total - 1), total)


def _limit(environment: Mapping[str, str], name: str, default: int, highest: int) -> int:
    given = environment.get(name)
    if given is None:
        return min(default, highest)
    if not given.isascii() or not given.isdigit() or not 1 <= int(given) <= highest:
        raise ArtifactError(f"The container's {name} is '{given}'; it must be a whole number from 1 to {highest}.")
    return int(given)


def _encode(answer: Any) -> bytes:
    return json.dumps(answer, ensure_ascii=False).encode()
