"""The adapter of a fine-tuned model as an artefact in S3, and what was measured beside it.

The artefact holds the adapter (10 MB for a model of 135 million parameters) and names its base model by digest. The
base model itself stays where it is: it is the same for all jobs, and hundreds to thousands of times as large.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from typing import Any

from airflow_automl.local.models import artifacts
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.candidates import image
from airflow_automl.local.training.engines.generation.base_models import BaseModel
from airflow_automl.local.training.engines.generation.language_model import LanguageModel
from airflow_automl.local.training.engines.generation.serving import MAX_INPUT, MAX_TOTAL

__all__ = ["EVALUATION", "export"]

log = logging.getLogger(__name__)

EVALUATION = "evaluation.json"
"""Beside ``model.tar.gz``: the measurements before and after, the course of the losses, sample generations."""

_TOTAL_TOKENS = 2048


def export(
    run: Run, step: str, base: BaseModel, model: LanguageModel, evaluation: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Put a trained adapter into S3.

    :param run: the job.
    :param step: CandidateStepName of the training.
    :param base: what the adapter belongs to.
    :param model: with the adapter.
    :param evaluation: the document to put beside it.
    :return: InferenceContainers, and the SHA-256 of the artefact by its address.
    """
    folder = run.folder / "export"
    adapter = folder / "adapter"
    total = min(model.positions, _TOTAL_TOKENS)
    network = model.network
    for config in network.peft_config.values():
        # What is written here ends up in the artefact: the model's name, not a path of this machine.
        config.base_model_name_or_path = base.name
    network.save_pretrained(str(adapter), safe_serialization=True, save_embedding_layers=False)
    (adapter / "README.md").unlink(missing_ok=True)
    metadata = {
        "engine": "generation",
        "problem_type": "TextGeneration",
        "base_model": {"name": base.name, "digest": base.digest},
        "hyperparameters": evaluation["hyperparameters"],
        "max_total_tokens": total,
        # The files are data and open with other versions too; these are noted for whoever looks for a difference.
        "written_with": artifacts.versions(["torch", "transformers", "peft", "tokenizers"]),
        "job": run.spec.name,
    }
    archive = folder / "model.tar.gz"
    prefix = f"{run.spec.output}fine-tuning/{step}/output/"
    try:
        artifacts.pack(adapter, metadata, archive)
        log.info("The artefact has %.1f MB", archive.stat().st_size / 1e6)
        uri = f"{prefix}model.tar.gz"
        digest = run.store.upload(archive, uri, "application/gzip")
        run.store.write(json.dumps(evaluation, ensure_ascii=False, indent=1), prefix + EVALUATION, "application/json")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    environment = {
        MAX_INPUT: str(total - 1),
        MAX_TOTAL: str(total),
        "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "application/json",
    }
    return [{"Image": image("text-generation"), "ModelDataUrl": uri, "Environment": environment}], {uri: digest}
