"""Turns AutoGluon's progress into candidates, one by one, while it trains."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from autogluon.core.callbacks import AbstractCallback

from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.data.target import BINARY, REGRESSION
from airflow_automl.local.training.engines import metrics
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.candidates import Candidate, image, step
from airflow_automl.local.training.engines.tabular.ensembling.export import Exporter, Snapshot
from airflow_automl.local.training.engines.tabular.ensembling.limits import enforce

__all__ = ["CandidateWatch", "containers"]

log = logging.getLogger(__name__)


def containers(uri: str, model: str, problem_type: str) -> list[dict[str, Any]]:
    """The one container of an ensembling candidate, with the environment that Autopilot gives it.

    :param uri: address of the ``model.tar.gz``.
    :param model: AutoGluon's name of the model.
    :param problem_type: a regression has no probabilities to answer.
    """
    keys = "predicted_label" if problem_type == REGRESSION else "predicted_label,probability,probabilities,labels"
    return [
        {
            "Image": image("autogluon"),
            "ModelDataUrl": uri,
            "Environment": {
                "MODEL_NAME": model,
                "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv",
                "SAGEMAKER_INFERENCE_OUTPUT": "predicted_label",
                "SAGEMAKER_INFERENCE_SUPPORTED": keys,
                "SAGEMAKER_PROGRAM": "tabular_serve.py",
                "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
            },
        }
    ]


class CandidateWatch(AbstractCallback):
    """Reports every model as a candidate: in progress, then completed once its artefact lies in S3.

    :param run: the job.
    :param dataset: what is trained on.
    :param exporter: takes finished models.
    :param seconds_per_model: MaxRuntimePerTrainingJobInSeconds, ``None`` for no limit.
    """

    def __init__(
        self, run: Run, dataset: TabularDataset, exporter: Exporter, seconds_per_model: int | None = None
    ) -> None:
        super().__init__()
        self._seconds_per_model = seconds_per_model
        self._run = run
        self._dataset = dataset
        self._exporter = exporter
        self._rows: Any = None
        self._current: str | None = None
        self.candidates: dict[str, Candidate] = {}
        """AutoGluon's name → its candidate."""
        self.answers: dict[str, np.ndarray] = {}
        """AutoGluon's name → predictions or probabilities for the validation rows."""

    def __getstate__(self) -> dict[str, Any]:
        # AutoGluon pickles its trainer with the callbacks in it; a watch belongs to this process alone.
        return {}

    def before_trainer_fit(self, trainer: Any, **kwargs: Any) -> None:
        """Keep the validation rows as AutoGluon transformed them; without any, models are cross-validated."""
        self._rows = kwargs["X_val"]

    def _before_model_fit(self, trainer: Any, model: Any, **kwargs: Any) -> tuple[bool, bool]:
        self._current = model.name
        if self._seconds_per_model is not None:
            enforce(model, self._seconds_per_model)
        candidate = Candidate(
            name=Candidate.name_for(self._run.spec, model.name),
            problem_type=self._dataset.problem_type,
            objective=self._dataset.objective,
            steps=[
                step(self._run.spec, "processing-job", "db-1"),
                step(self._run.spec, "training-job", f"t{len(self.candidates) + 1}-{model.name}"),
            ],
        )
        self.candidates[model.name] = candidate
        self._run.events.candidate(candidate.document())
        return False, False

    def _after_model_fit(self, trainer: Any, model_names: list[str], **kwargs: Any) -> bool:
        for name in model_names:
            self._finished(trainer, name)
        if not model_names and self._current is not None:
            self._failed(trainer, self._current)
        self._current = None
        return False

    def _finished(self, trainer: Any, name: str) -> None:
        candidate = self.candidates[name]
        if self._rows is None:
            predicted = trainer.get_model_oof(name)
        else:
            predicted = trainer.get_model_pred_proba_dict(self._rows, [name], use_val_cache=True)[name]
        self._measure(name, np.asarray(predicted, dtype="float64"))
        snapshot = Snapshot.take(trainer, name, candidate.threshold, self._run.folder / "export" / candidate.name)
        uri = f"{self._run.spec.output}sagemaker-automl-candidates/model/{candidate.name}/model.tar.gz"

        def done(digest: str | None, reason: str | None) -> None:
            if digest is None:
                candidate.fail(reason or "The artefact could not be stored.")
                self._run.events.candidate(candidate.document())
                return
            candidate.complete(containers(uri, name, self._dataset.problem_type))
            self._run.events.candidate(candidate.document(), {uri: digest})

        self._exporter.submit(snapshot, uri, done)

    def _measure(self, name: str, predicted: np.ndarray) -> None:
        """Choose the threshold, and fill in the validation metrics."""
        data, candidate = self._dataset, self.candidates[name]
        truth = data.validation[data.target].to_numpy()
        weights = data.weights(data.validation)
        if data.problem_type == BINARY:
            predicted = np.column_stack([1 - predicted, predicted])
            positive = truth == data.labels[1]
            candidate.threshold = metrics.best_threshold(data.objective, positive, predicted[:, 1], weights)
        self.answers[name] = predicted
        candidate.validation = metrics.scores(
            data.problem_type, truth, predicted, data.labels, weights, candidate.threshold
        )

    def _failed(self, trainer: Any, name: str) -> None:
        """AutoGluon gave the model up; it says why, unless there was no time to begin."""
        errors: dict[str, Any] = getattr(trainer, "_models_failed_to_train_errors", {})
        known = errors.get(name)
        candidate = self.candidates[name]
        if known is None or known["exc_type"] in {"TimeLimitExceeded", "InsufficientTime"}:
            said = "" if known is None else str(known["exc_str"])
            overran = "MaxRuntimePerTrainingJobInSeconds" in said
            candidate.stop(said if overran else f"There was not enough time left to train {name}.")
        else:
            candidate.fail(f"{name} could not be trained: {known['exc_type']}: {known['exc_str']}")
            self._run.events.partial_failure(str(candidate.failure), "Candidate")
        self._run.events.candidate(candidate.document())
