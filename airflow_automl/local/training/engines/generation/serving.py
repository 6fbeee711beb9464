"""A fine-tuned model that answers prompts: in an endpoint, in a batch transform, or in your own program.

::

    from airflow_automl.local.models import artifacts

    model = artifacts.load("model.tar.gz")
    model.generate(["What is the capital of France?"], max_new_tokens=50)

The artefact holds the adapter alone; its base model is found as for training (``AUTOML_MODEL_DIR`` or a package), and
must be the very one that the adapter was trained on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.models.artifacts import ArtifactError
from airflow_automl.local.models.payloads import JSON, JSON_LINES, PayloadError, media_type
from airflow_automl.local.training.engines.generation import base_models
from airflow_automl.local.training.engines.generation.language_model import LanguageModel
from airflow_automl.local.training.engines.generation.requests import Request, read

MAX_INPUT, MAX_TOTAL = "MAX_INPUT_LENGTH", "MAX_TOTAL_TOKENS"
"""Environment variables of the container: tokens of a prompt, and of prompt and answer together."""

SECONDS = 50.0
"""What one request may take; an endpoint that has not answered after 60 seconds never will."""

_BATCH = 8


class TextGenerator:
    """A base model with its adapter.

    :param model: both, merged.
    :param metadata: of the artefact.
    :param max_input: tokens of a prompt.
    :param max_total: tokens of prompt and answer together.
    """

    def __init__(self, model: LanguageModel, metadata: Mapping[str, Any], max_input: int, max_total: int) -> None:
        self.metadata = metadata
        self._model = model
        self._max_input = max_input
        self._max_total = max_total

    def generate(self, prompts: Sequence[str], max_new_tokens: int = 100, **parameters: Any) -> list[str]:
        """What the model says to some prompts.

        :param prompts: as in the column ``input`` of the training data.
        :param max_new_tokens: at most so many tokens each.
        :param parameters: as an endpoint takes them, such as ``temperature``, ``top_p``, ``seed``, ``stop``.
        :return: one text for each prompt.
        :raises PayloadError: a parameter is unknown or out of its range, or a prompt is too long.
        """
        document = {"inputs": list(prompts), "parameters": {"max_new_tokens": max_new_tokens, **parameters}}
        return self._answer([read(document)], seconds=None)

    def respond(self, body: bytes, content_type: str | None, accept: str | None) -> tuple[bytes, str]:
        """See :class:`airflow_automl.local.models.artifacts.Responder`.

        A JSON document is answered by a list with one object for each prompt; JSON lines by one object for each line.
        """
        kind = media_type(content_type or JSON)
        if kind not in (JSON, JSON_LINES):
            raise PayloadError(f"The model can't read the content type {content_type}; it reads {JSON}, {JSON_LINES}.")
        wanted = {media_type(part) for part in (accept or "*/*").split(",")}
        if not wanted & {"*/*", "application/*", kind}:
            raise PayloadError(f"The model can't answer {accept} to {kind}; it answers {kind}.")
        try:
            text = body.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise PayloadError(f"The body is not UTF-8 text (byte offset {error.start}).") from error
        if kind == JSON:
            return _encode(_objects(self._answer([read(_parse(text, "The body"))], SECONDS))), JSON
        lines = [line for line in text.splitlines() if line.strip()]
        if not lines:
            raise PayloadError("The body is empty: send at least one line.")
        requests = [read(_parse(line, f"Line {number}")) for number, line in enumerate(lines, 1)]
        if any(len(request.prompts) > 1 for request in requests):
            raise PayloadError("A line holds one prompt: a list of prompts belongs into a JSON document.")
        return b"".join(_encode(answer) + b"\n" for answer in _objects(self._answer(requests, SECONDS))), JSON_LINES

    def _answer(self, requests: Sequence[Request], seconds: float | None) -> list[str]:
        ends = None if seconds is None else time.monotonic() + seconds
        return [text for request in requests for text in self._texts(request, ends)]

    def _texts(self, request: Request, ends: float | None) -> list[str]:
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
        texts: list[str] = []
        for start in range(0, len(prompts), _BATCH):
            left = None if ends is None else ends - time.monotonic()
            how = request.sampling(left)
            texts += [self._model.text(tokens) for tokens in self._model.generate(prompts[start : start + _BATCH], how)]
            if ends is not None and time.monotonic() > ends:
                raise PayloadError(
                    f"Generating takes longer than the {SECONDS:.0f} s that a request may take: ask for fewer "
                    "max_new_tokens, or send fewer prompts at once."
                )
        texts = [request.finish(text) for text in texts]
        if request.full_text:
            return [prompt + text for prompt, text in zip(request.prompts, texts, strict=True)]
        return texts


def load_model(
    folder: Path, metadata: Mapping[str, Any], environment: Mapping[str, str], threads: int
) -> TextGenerator:
    """Open an artefact; there is no code in it.

    :param folder: the adapter's files.
    :param metadata: of the artefact.
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
        model.network = _merged(model.network, folder)
    except JobFailure as failure:
        raise ArtifactError(failure.reason) from failure
    except ModuleNotFoundError as error:
        raise ArtifactError(
            f"A text generation model needs the package {error.name}: run `pip install 'airflow-automl[llm]'`."
        ) from error
    total = _limit(environment, MAX_TOTAL, int(metadata["max_total_tokens"]), model.positions)
    return TextGenerator(model, metadata, _limit(environment, MAX_INPUT, total - 1, total - 1), total)


def _merged(network: Any, folder: Path) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(network, str(folder), is_trainable=False).merge_and_unload().eval()


def _limit(environment: Mapping[str, str], name: str, default: int, highest: int) -> int:
    given = environment.get(name)
    if given is None:
        return min(default, highest)
    if not given.isascii() or not given.isdigit() or not 1 <= int(given) <= highest:
        raise ArtifactError(f"The container's {name} is '{given}'; it must be a whole number from 1 to {highest}.")
    return int(given)


def _objects(texts: Sequence[str]) -> list[dict[str, str]]:
    return [{"generated_text": text} for text in texts]


def _encode(answer: Any) -> bytes:
    return json.dumps(answer, ensure_ascii=False).encode()


def _parse(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise PayloadError(f"{what} is not JSON: {error}.") from error
