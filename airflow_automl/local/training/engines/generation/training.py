"""LoRA fine-tuning: small matrices beside every projection learn, the base model stays as it is."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.engines.generation.hyperparameters import HyperParameters
from airflow_automl.local.training.engines.generation.language_model import Encoded, LanguageModel
from airflow_automl.local.training.engines.generation.losses import answer_loss, slices

log = logging.getLogger(__name__)

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
        """Whether the time was over before the last step."""
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
    :param options: the hyperparameters.
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
    progress = _Progress(course)
    best: list[Any] = []
    for epoch in range(options.epochs):
        order = random.permutation(len(train))
        began = course.steps
        for start in range(0, len(train), options.batch_size):
            if not may_go_on(progress.seconds_per_step):
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
            progress.tell(loss)
        if course.steps == began:
            break
        measured = validate()
        passed = epoch + (course.steps - began) / per_epoch
        course.validation.append((round(passed, 4), measured))
        log.info("%.2f epochs: validation loss %.4f", passed, measured)
        if math.isfinite(measured) and measured < course.best:
            course.best = measured
            best = [parameter.detach().clone() for parameter in learning]
        if course.steps - began < per_epoch:
            break
    if best:
        with torch.no_grad():
            for parameter, kept in zip(learning, best, strict=True):
                parameter.copy_(kept)
    elif course.steps:
        raise JobFailure(f"The validation loss is not a number: lower learningRate ({options.learning_rate:g}).")
    return course


def _step(model: LanguageModel, batch: Sequence[Encoded], optimizer: Any, learning: Sequence[Any]) -> float:
    """One step over a batch, which may go through the network in several parts."""
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


class _Progress:
    """Tells the log now and then how far the training is."""

    def __init__(self, course: Fit) -> None:
        self._course = course
        self._began = self._told = time.monotonic()

    @property
    def seconds_per_step(self) -> float:
        steps = self._course.steps
        return (time.monotonic() - self._began) / steps if steps else 0.0

    def tell(self, loss: float) -> None:
        course, now = self._course, time.monotonic()
        if now - self._told < _LOG_EVERY and course.steps not in (1, course.planned):
            return
        self._told = now
        left = self.seconds_per_step * (course.planned - course.steps)
        log.info(
            "Step %d of %d: loss %.4f, %.2f s a step, about %.0f s left",
            course.steps,
            course.planned,
            loss,
            self.seconds_per_step,
            left,
        )
