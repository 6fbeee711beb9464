"""From a trained candidate to its artefact in S3."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from airflow_automl.local.models import artifacts
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.candidates import image, step
from airflow_automl.local.training.engines.classification.approach import Trained
from airflow_automl.local.training.engines.classification.samples import Samples

__all__ = ["Exporter"]

_KEYS = "predicted_label,probability,probabilities,labels"


class Exporter:
    """Packs artefacts and puts them where AWS puts them.

    :param run: the job.
    :param engine: key of what serves the artefact.
    :param metadata: what all candidates share.
    :param samples: what is trained on.
    """

    def __init__(self, run: Run, engine: str, metadata: Mapping[str, Any], samples: Samples) -> None:
        self._run = run
        self._metadata = {"engine": engine, **metadata, "objective": "Accuracy", "labels": list(samples.labels)}
        # The files are data and open with other versions too; these are noted for whoever looks for a difference.
        self._written_with = artifacts.versions(["numpy", "scikit-learn", "onnxruntime", "tokenizers", "pillow"])

    def steps(self, approach: str) -> list[dict[str, str]]:
        """CandidateSteps: the analysis of the data, the algorithm's training.

        :param approach: name of the algorithm.
        """
        return [
            step(self._run.spec, "processing-job", "db-1"),
            step(self._run.spec, "training-job", approach),
        ]

    def export(self, approach: str, trained: Trained) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
        """Put what a candidate needs into S3.

        :param approach: name of the algorithm.
        :param trained: the candidate.
        :return: its InferenceContainerDefinitions, and the SHA-256 of the artefact by its address. Both processing
            units run the same artefact.
        """
        name = self.steps(approach)[-1]["CandidateStepName"]
        folder = self._run.folder / "export" / name
        folder.mkdir(parents=True)
        archive = folder.with_name(name + ".tar.gz")
        uri = f"{self._run.spec.output}training/{name}/output/model.tar.gz"
        document = {
            **self._metadata,
            "approach": approach,
            "settings": dict(trained.settings),
            "written_with": self._written_with,
            "job": self._run.spec.name,
        }
        try:
            trained.save(folder)
            artifacts.pack(folder, document, archive)
            digest = self._run.store.upload(archive, uri, "application/gzip")
        finally:
            archive.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
        definitions = {
            unit.upper(): [
                {
                    "Image": image(self._metadata["engine"], unit),
                    "ModelDataUrl": uri,
                    "Environment": {
                        "SAGEMAKER_INFERENCE_OUTPUT": "predicted_label",
                        "SAGEMAKER_INFERENCE_SUPPORTED": _KEYS,
                    },
                }
            ]
            for unit in ("cpu", "gpu")
        }
        return definitions, {uri: digest}
