"""The adapter of a fine-tuned model as an artefact in S3, and what was measured beside it.

The artefact holds the adapter (10 MB for a model of 135 million parameters) and names its base model by digest. The
base model itself stays where it is: it is the same for all jobs, and hundreds to thousands of times as large.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_automl.local.models import artifacts
from airflow_automl.local.training.engines.candidates import Candidate, image
from airflow_automl.local.training.engines.course import Course
from airflow_automl.local.training.engines.generation.base_models import BaseModel
from airflow_automl.local.training.engines.generation.language_model import LanguageModel
from airflow_automl.local.training.engines.generation.serving import MAX_INPUT, MAX_TOTAL

EVALUATION = "evaluation.json"
"""Beside ``model.tar.gz``: the measurements before and after, the course of the losses, sample generations."""

_TOTAL_TOKENS = 2048


@dataclass(frozen=True)
class Adapter:
    """A trained adapter.

    :param folder: its files.
    :param total_tokens: of prompt and answer together, at most.
    :param evaluation: the document to put beside the artefact.
    :param metrics: measured after the training.
    :param training_loss: of the last steps.
    :param cut: whether the time was over before the last step.
    """

    folder: Path
    total_tokens: int
    evaluation: Mapping[str, Any]
    metrics: dict[str, float]
    training_loss: float
    cut: bool


def save(model: LanguageModel, base: BaseModel, folder: Path) -> int:
    """Write an adapter as data.

    :param model: with the adapter.
    :param base: what the adapter belongs to.
    :param folder: is created.
    :return: tokens of prompt and answer together, at most.
    """
    for config in model.network.peft_config.values():
        # What is written here ends up in the artefact: the model's name, not a path of this machine.
        config.base_model_name_or_path = base.name
    model.network.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    return min(model.positions, _TOTAL_TOKENS)


def publish(
    course: Course, candidate: Candidate, base: BaseModel, adapter: Adapter
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Put a trained adapter into S3.

    :param course: of the job.
    :param candidate: which it is.
    :param base: what the adapter belongs to.
    :param adapter: the adapter.
    :return: InferenceContainers, and the SHA-256 of the artefact by its address.
    """
    total = adapter.total_tokens
    metadata = {
        "engine": "generation",
        "base_model": {"name": base.name, "digest": base.digest},
        "hyperparameters": adapter.evaluation["hyperparameters"],
        "max_total_tokens": total,
        # The files are data, and other versions open them too; these are recorded for comparison.
        "written_with": artifacts.versions(["torch", "transformers", "peft", "tokenizers"]),
    }
    folder = f"fine-tuning/{candidate.steps[0]['CandidateStepName']}/output"
    uri, digest = course.publish(
        f"{folder}/model.tar.gz", metadata, lambda to: shutil.copytree(adapter.folder, to, dirs_exist_ok=True)
    )
    course.write(folder, {EVALUATION: json.dumps(adapter.evaluation, ensure_ascii=False, indent=1)})
    environment = {
        MAX_INPUT: str(total - 1),
        MAX_TOTAL: str(total),
        "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "application/json",
    }
    return [{"Image": image("text-generation"), "ModelDataUrl": uri, "Environment": environment}], {uri: digest}
