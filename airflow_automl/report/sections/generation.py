"""Text generation: how the losses went, what was gained, and what both models say to the same prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from airflow_automl.contract.metrics import direction
from airflow_automl.report.document import containers
from airflow_automl.report.plots import Axes, svg
from airflow_automl.report.scores import Scores, number
from airflow_automl.report.sections import Card, Lister, Reader, finite, json_objects, numbers, table

_SAMPLES = 8
_TEXT = 2_000
_SAMPLE = ("input", "expected", "before", "after")


def read(candidate: Mapping[str, Any], list_objects: Lister, read_object: Reader) -> dict[str, Any]:
    """See :class:`airflow_automl.report.sections.Section`.

    The embedded Autopilot puts ``evaluation.json`` beside the candidate's artefact.

    :return: those that are there of ``base_model``, ``before`` and ``after`` (metric → value), ``training_loss`` and
        ``validation_loss`` (pairs of epoch and loss), and ``samples`` (``input``, ``expected``, ``before``, ``after``).
    """
    for folder in dict.fromkeys(
        str(each["model"]).rpartition("/")[0] for each in containers(candidate) if each["model"]
    ):
        for content in json_objects(f"{folder}/", "evaluation.json", list_objects, read_object):
            return _understood(content)
    return {}


def cards(found: Mapping[str, Any], report: Mapping[str, Any]) -> Sequence[Card]:
    shown = []
    base = found.get("base_model")
    if found.get("before") and found.get("after"):
        note = f"On the held-out data; the base model is {base}." if base else "On the held-out data."
        shown.append(Card("Before and after fine-tuning", _gains(found["before"], found["after"]), note))
    training, validation = found.get("training_loss") or [], found.get("validation_loss") or []
    if len(training) > 1 or len(validation) > 1:
        note = "Nats per token of the answers. Line: training data; dots: held-out data, 0 is before fine-tuning."
        shown.append(Card("Loss", _course(training, validation), note))
    if found.get("samples"):
        head = ("Prompt", "Expected", "Base model", "Fine-tuned")
        lines = ([each[key] for key in _SAMPLE] for each in found["samples"])
        shown.append(Card("Sample generations", table(head, lines, text=True), "Held-out prompts.", wide=True))
    return shown


def _understood(content: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if isinstance(content.get("base_model"), str):
        result["base_model"] = content["base_model"]
    for name in ("before", "after"):
        entry = content.get(name)
        values = entry.get("metrics") if isinstance(entry, Mapping) else None
        if isinstance(values, Mapping):
            result[name] = numbers(values)
    steps: Any = content.get("steps_per_epoch")
    per_epoch = float(steps) if finite(steps) and steps > 0 else 1.0
    for name, divisor in (("training_loss", per_epoch), ("validation_loss", 1.0)):
        pairs = content.get(name)
        if isinstance(pairs, list):
            result[name] = [
                [float(pair[0]) / divisor, float(pair[1])]
                for pair in pairs
                if isinstance(pair, list) and len(pair) == 2 and all(finite(value) and value >= 0 for value in pair)
            ]
    samples = content.get("samples")
    if isinstance(samples, list):
        result["samples"] = [
            {key: str(sample.get(key, ""))[:_TEXT] for key in _SAMPLE}
            for sample in samples[:_SAMPLES]
            if isinstance(sample, Mapping)
        ]
    return result


def _gains(before: Mapping[str, float], after: Mapping[str, float]) -> Markup:
    rows = []
    for name in [*after, *(name for name in before if name not in after)]:
        first, second = before.get(name), after.get(name)
        tone = ""
        if first is not None and second is not None and first != second:
            tone = "better" if (second < first) == (direction(name) == "Minimize") else "worse"
        scores = Scores(name, (first, second))
        rows.append((scores.label, scores.text(first), (scores.text(second), tone)))
    return table(("Metric", "Base model", "Fine-tuned"), rows)


def _course(training: Sequence[Sequence[float]], validation: Sequence[Sequence[float]]) -> Markup:
    points = [*training, *validation]
    far = max(at for at, _ in points) or 1.0
    axes = Axes((0.0, far), (0.0, max(loss for _, loss in points) * 1.05 or 1.0))
    epochs = range(0, math.floor(far + 1e-9) + 1, max(math.ceil(far / 10), 1))
    parts = axes.frame("epochs", {float(epoch): str(epoch) for epoch in epochs})
    parts.append(axes.line(((at, loss) for at, loss in training), "actual"))
    parts += [axes.dot(at, loss, f"{number(at)} epochs: {number(loss)}", True) for at, loss in validation]
    return svg(axes.height, "Loss by epoch", parts)
