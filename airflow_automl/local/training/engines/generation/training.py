"""LoRA fine-tuning: low-rank matrices are trained beside every linear layer; the base model is unchanged."""

from __future__ import annotations

import inspect
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from airflow_automl.contract.values import HYPERPARAMETERS
from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.engines.generation.language_model import Encoded, LanguageModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HyperParameters:
    """How the model learns. The API names no defaults; these suit LoRA on the small models that a CPU can train.

    :param epochs: ``epochCount``: passes over the training data.
    :param batch_size: ``batchSize``: examples of one step.
    :param learning_rate: ``learningRate``: reached after the warm-up; it falls to zero until the last step.
    :param warmup_steps: ``learningRateWarmupSteps``: steps in which the learning rate rises from zero.
    """

    epochs: int = 3
    batch_size: int = 4
    learning_rate: float = 5e-4
    warmup_steps: int = 10

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> HyperParameters:
        """Those that a request gives, and defaults for the others.

        :param config: TextGenerationJobConfig; the values are numbers in strings.
        :raises JobFailure: one is not a number, or out of its range.
        """
        given = config.get("TextGenerationHyperParameters") or {}
        values = {}
        for name, member in _MEMBERS.items():
            if name not in given:
                continue
            lowest, highest, integer = HYPERPARAMETERS[name]
            try:
                value = int(given[name]) if integer else float(given[name])
            except ValueError:
                value = float("nan")
            if not lowest <= value <= highest:
                kind = "an integer" if integer else "a number"
                raise JobFailure(
                    f"The hyperparameter {name} is '{given[name]}'; it must be {kind} from {lowest:g} to {highest:g}."
                )
            values[member] = value
        return cls(**values)  # type: ignore[arg-type]

    def as_json(self) -> dict[str, float]:
        """By the API's names."""
        values = asdict(self)
        return {name: values[member] for name, member in _MEMBERS.items()}

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step.

        :param step: from 0.
        :param steps: how many there are.
        """
        warmup = min(self.warmup_steps, steps)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        return self.learning_rate * (steps - step) / max(steps - warmup, 1)


_MEMBERS = {
    "epochCount": "epochs",
    "batchSize": "batch_size",
    "learningRate": "learning_rate",
    "learningRateWarmupSteps": "warmup_steps",
}


TOKENS_AT_ONCE = 2048
"""Tokens of one pass through the network, fillers included: what it takes of memory does not depend on batchSize."""


def mean_loss(model: LanguageModel, examples: Sequence[Encoded]) -> float:
    """Return the mean cross-entropy over all tokens of all answers, in nats.

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
    """Return the sum of the cross-entropy over the answers' tokens, as a tensor.

    Fillers stand on the left, so that all answers end at the same place and only their logits need be computed.

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
    accepted = _forward_parameters(model.network)
    if "position_ids" in accepted:
        inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    if "logits_to_keep" in accepted:
        inputs["logits_to_keep"] = longest + 1
    logits = model.network(**inputs).logits[:, -longest - 1 : -1]
    return torch.nn.functional.cross_entropy(
        logits.float().reshape(-1, logits.shape[-1]), targets.reshape(-1), reduction="sum"
    )


def _forward_parameters(network: Any) -> set[str]:
    plain = network.get_base_model() if hasattr(network, "get_base_model") else network
    return set(inspect.signature(plain.forward).parameters)


RANK = 8
_ALPHA = 16
_CLIP = 1.0
_LOG_EVERY = 15.0


@dataclass
class Fit:
    """How the training went.

    :param steps: optimizer steps that were made.
    :param planned: that all epochs would have taken.
    :param train: loss of each step, in nats per token.
    :param validation: epochs passed, which may be a fraction, and the validation loss there.
    :param best: validation loss of the adapter that was kept.
    """

    planned: int
    steps: int = 0
    train: list[float] = field(default_factory=list)
    validation: list[tuple[float, float]] = field(default_factory=list)
    best: float = math.inf

    @property
    def cut(self) -> bool:
        """Return whether the time was over before the last step."""
        return self.steps < self.planned


def add_adapter(model: LanguageModel) -> None:
    """Put an untrained adapter around a model: rank 8 beside all linear layers but the last."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(SEED)
    config = LoraConfig(r=RANK, lora_alpha=_ALPHA, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    model.network = get_peft_model(model.network, config)


def fit(
    model: LanguageModel,
    train: Sequence[Encoded],
    options: HyperParameters,
    validate: Callable[[], float],
    may_go_on: Callable[[float], bool],
) -> Fit:
    """Train the adapter of a model, and leave it as it was at its lowest validation loss.

    :param model: with an adapter.
    :param train: the examples.
    :param validate: measures the validation loss; called after every epoch, and when the time is over.
    :param may_go_on: asked before each step, with the seconds that a step takes.
    :return: how it went; no step at all if the time was over before the first.
    :raises JobFailure: the loss is no longer a number, or the memory is not enough.
    """
    import torch

    per_epoch = math.ceil(len(train) / options.batch_size)
    course = Fit(planned=per_epoch * options.epochs)
    learning = [parameter for parameter in model.network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=options.learning_rate, weight_decay=0.0)
    random = np.random.default_rng(SEED)
    best: list[Any] = []
    started = logged = time.monotonic()
    for epoch in range(options.epochs):
        order = random.permutation(len(train))
        before = course.steps
        for start in range(0, len(train), options.batch_size):
            pace = (time.monotonic() - started) / course.steps if course.steps else 0.0
            if not may_go_on(pace):
                break
            batch = [train[row] for row in order[start : start + options.batch_size]]
            for group in optimizer.param_groups:
                group["lr"] = options.rate(course.steps, course.planned)
            loss = _step(model, batch, optimizer, learning)
            if not math.isfinite(loss):
                if best:
                    log.warning("Step %d: the loss is no longer a number; the best epoch so far is kept", course.steps)
                    break
                raise JobFailure(
                    f"After {course.steps} steps the loss was no longer a number: lower learningRate "
                    f"({options.learning_rate:g})."
                )
            course.steps += 1
            course.train.append(loss)
            if time.monotonic() - logged >= _LOG_EVERY or course.steps in (1, course.planned):
                logged = time.monotonic()
                pace, done = (logged - started) / course.steps, f"{course.steps} of {course.planned}"
                left = pace * (course.planned - course.steps)
                log.info("Step %s: loss %.4f, %.2f s a step, about %.0f s left", done, loss, pace, left)
        if course.steps == before:
            break
        measured = validate()
        passed = epoch + (course.steps - before) / per_epoch
        course.validation.append((round(passed, 4), measured))
        log.info("%.2f epochs: validation loss %.4f", passed, measured)
        if math.isfinite(measured) and measured < course.best:
            course.best = measured
            best = [parameter.detach().clone() for parameter in learning]
        if course.steps - before < per_epoch:
            break
    if best:
        with torch.no_grad():
            for parameter, kept in zip(learning, best, strict=True):
                parameter.copy_(kept)
    elif course.steps:
        raise JobFailure(f"The validation loss is not a number: lower learningRate ({options.learning_rate:g}).")
    return course


def _step(model: LanguageModel, batch: Sequence[Encoded], optimizer: Any, learning: Sequence[Any]) -> float:
    """Make one optimizer step over a batch, which may go through the network in several parts; return the loss."""
    import torch

    tokens = sum(example.answer for example in batch)
    total = 0.0
    model.network.train()
    try:
        optimizer.zero_grad(set_to_none=True)
        for part in slices(batch):
            loss = answer_loss(model, part) / tokens
            loss.backward()
            total += float(loss.detach())
        if math.isfinite(total):
            torch.nn.utils.clip_grad_norm_(learning, _CLIP)
            optimizer.step()
    except (torch.cuda.OutOfMemoryError, MemoryError) as error:
        raise JobFailure(
            f"The memory is not enough for an example of {max(len(example.ids) for example in batch)} tokens: use "
            "shorter texts, a smaller base model, or a machine with more memory."
        ) from error
    finally:
        model.network.eval()
    return total
