"""The four hyperparameters of a text generation job (R87, R88)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from airflow_automl.contract.values import HYPERPARAMETERS
from airflow_automl.local.errors import JobFailure


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
        :raises JobFailure: one is no number, or out of its range.
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
        """The learning rate of a step.

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
