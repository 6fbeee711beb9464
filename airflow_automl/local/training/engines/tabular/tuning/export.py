"""From a trained candidate to the artefacts of its containers in S3."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from airflow_automl.local.models import artifacts
from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.engines.candidates import image, step
from airflow_automl.local.training.engines.course import Course
from airflow_automl.local.training.engines.tabular.tuning.features import FeatureTransformer
from airflow_automl.local.training.engines.tabular.tuning.learners import TrainedAlgorithm
from airflow_automl.local.training.engines.tabular.tuning.serving import (
    ALGORITHM,
    DECODE,
    ENCODE,
    LABELS,
    MODE,
    PROCESSOR,
)
from airflow_automl.local.training.engines.tabular.tuning.space import Choice

_KEYS = "predicted_label,probability,probabilities"
_SCRIPT = {"SAGEMAKER_PROGRAM": "sagemaker_serve", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}


class Exporter:
    """Packs artefacts and puts them where AWS puts them.

    The feature transformer's artefact is shared by all candidates of one view.

    :param course: of the job.
    :param dataset: what is trained on.
    :param transformer: the features'.
    """

    def __init__(self, course: Course, dataset: TabularDataset, transformer: FeatureTransformer) -> None:
        self._course, self._run = course, course.run
        self._dataset = dataset
        self._transformer = transformer
        self._processors: dict[str, tuple[str, str]] = {}
        # The files are data and open with other versions too; these are noted for whoever looks for a difference.
        self._written_with = artifacts.versions(["numpy", "scipy", "pandas", "scikit-learn", "xgboost"])

    def steps(self, number: int, choice: Choice) -> list[dict[str, str]]:
        """CandidateSteps: the analysis of the data, the feature transformer's training, the algorithm's.

        :param number: of the candidate, from 1.
        :param choice: what it is made of.
        """
        return [
            step(self._run.spec, "processing-job", "db-1"),
            step(self._run.spec, "training-job", f"dpp-{choice.view}"),
            step(self._run.spec, "training-job", f"t{number}-{choice.algorithm}"),
        ]

    def export(
        self, number: int, choice: Choice, model: TrainedAlgorithm, threshold: float
    ) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """Put what a candidate needs into S3.

        :param number: of the candidate, from 1.
        :param choice: what it is made of.
        :param model: the trained algorithm.
        :param threshold: binary: probability from which a row is positive.
        :return: its InferenceContainers, and the SHA-256 of each artefact by its address.
        """
        _, processing, training = (entry["CandidateStepName"] for entry in self.steps(number, choice))
        processor = self._processor(choice.view, processing)
        algorithm = self._algorithm(choice, model, threshold, training)
        containers = [
            _container(
                "sklearn-automl",
                processor[0],
                {MODE: ENCODE, "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "application/x-recordio-protobuf", **_SCRIPT},
            ),
            _container(
                choice.algorithm,
                algorithm[0],
                {
                    "MAX_CONTENT_LENGTH": "20971520",
                    "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv",
                    "SAGEMAKER_INFERENCE_OUTPUT": "predicted_label",
                    "SAGEMAKER_INFERENCE_SUPPORTED": _KEYS if self._dataset.classification else "predicted_label",
                },
            ),
        ]
        if self._dataset.classification:
            environment = {
                MODE: DECODE,
                "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv",
                "SAGEMAKER_INFERENCE_INPUT": "predicted_label",
                "SAGEMAKER_INFERENCE_OUTPUT": "predicted_label",
                "SAGEMAKER_INFERENCE_SUPPORTED": f"{_KEYS},labels",
                **_SCRIPT,
            }
            containers.append(_container("sklearn-automl", processor[0], environment))
        return containers, dict([processor, algorithm])

    def _processor(self, view: str, name: str) -> tuple[str, str]:
        def save(folder: Path) -> None:
            self._transformer.save(folder, [view])
            (folder / LABELS).write_text(json.dumps(list(self._dataset.labels)))

        if view not in self._processors:
            document = {"role": PROCESSOR, "view": view}
            key = f"data-processor-models/{name}/output/model.tar.gz"
            self._processors[view] = self._publish(key, document, save)
        return self._processors[view]

    def _algorithm(self, choice: Choice, model: TrainedAlgorithm, threshold: float, name: str) -> tuple[str, str]:
        options = {"hyperparameters": dict(choice.options), "balanced": choice.balanced}
        document = {"role": ALGORITHM, "algorithm": choice.algorithm, "threshold": threshold, **options}
        tuner = step(self._run.spec, "training-job", "tuning")["CandidateStepName"]
        key = f"tuning/{tuner}/{name}/output/model.tar.gz"
        return self._publish(key, document, lambda folder: model.save(folder, options))

    def _publish(self, key: str, document: Mapping[str, Any], save: Callable[[Path], None]) -> tuple[str, str]:
        data = self._dataset
        metadata = {
            "engine": "tuning",
            **document,
            "containers": 3 if data.classification else 2,
            "target": data.target,
            "features": [feature.as_json() for feature in data.features],
            "escaped": data.escaped,
            "labels": list(data.labels),
            "written_with": self._written_with,
        }
        return self._course.publish(key, metadata, save)


def _container(name: str, uri: str, environment: Mapping[str, str]) -> dict[str, Any]:
    return {"Image": image(name), "ModelDataUrl": uri, "Environment": dict(environment)}
