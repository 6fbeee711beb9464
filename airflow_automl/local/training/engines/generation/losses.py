"""Cross-entropy of the answers, given their prompts."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from airflow_automl.local.training.engines.generation.language_model import Encoded, LanguageModel

TOKENS_AT_ONCE = 2048
"""Tokens of one pass through the network, fillers included: what it takes of memory does not depend on batchSize."""


def mean_loss(model: LanguageModel, examples: Sequence[Encoded]) -> float:
    """The mean cross-entropy over all tokens of all answers, in nats.

    :param model: the model, adapter or not.
    :param examples: what it is measured on.
    """
    import torch

    total, tokens = 0.0, 0
    # Examples of one length need no fillers.
    ordered = sorted(examples, key=lambda example: len(example.ids))
    with torch.inference_mode():
        for part in slices(ordered):
            total += float(answer_loss(model, part))
            tokens += sum(example.answer for example in part)
    return total / tokens


def slices(examples: Sequence[Encoded]) -> Iterator[Sequence[Encoded]]:
    """Cut examples into parts that go through the network at once."""
    part: list[Encoded] = []
    width = 0
    for example in examples:
        width = max(width, len(example.ids))
        if part and width * (len(part) + 1) > TOKENS_AT_ONCE:
            yield part
            part, width = [], len(example.ids)
        part.append(example)
    if part:
        yield part


def answer_loss(model: LanguageModel, examples: Sequence[Encoded]) -> Any:
    """The sum of the cross-entropy over the answers' tokens, as a tensor.

    Fillers stand on the left, so that all answers end at the same place and only their logits need be computed.

    :param model: the model.
    :param examples: what goes through the network at once.
    """
    import torch

    width = max(len(example.ids) for example in examples)
    longest = max(example.answer for example in examples)
    ids = torch.full((len(examples), width), model.pad)
    mask = torch.zeros_like(ids)
    targets = torch.full((len(examples), longest), -100)
    for row, example in enumerate(examples):
        tokens = torch.tensor(example.ids)
        ids[row, width - len(tokens) :] = tokens
        mask[row, width - len(tokens) :] = 1
        targets[row, longest - example.answer :] = tokens[-example.answer :]
    ids, mask, targets = (tensor.to(model.device) for tensor in (ids, mask, targets))
    inputs = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    accepted = _parameters(model.network)
    if "position_ids" in accepted:
        inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    if "logits_to_keep" in accepted:
        inputs["logits_to_keep"] = longest + 1
    logits = model.network(**inputs).logits[:, -longest - 1 : -1]
    return torch.nn.functional.cross_entropy(
        logits.float().reshape(-1, logits.shape[-1]), targets.reshape(-1), reduction="sum"
    )


def _parameters(network: Any) -> set[str]:
    plain = network.get_base_model() if hasattr(network, "get_base_model") else network
    return set(inspect.signature(plain.forward).parameters)
