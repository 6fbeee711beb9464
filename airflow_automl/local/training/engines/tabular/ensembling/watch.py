"""Reports every model that AutoGluon trains as a candidate, and publishes its artefact, while training continues."""

from __future__ import annotations

import math
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from autogluon.core.callbacks import AbstractCallback
from autogluon.core.models import WeightedEnsembleModel
from autogluon.core.utils.exceptions import TimeLimitExceeded

from airflow_automl.local.errors import JobFailure, cause
from airflow_automl.local.models import artifacts
from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.data.target import BINARY, REGRESSION
from airflow_automl.local.training.engines import isolation, metrics
from airflow_automl.local.training.engines.candidates import Candidate, image, step
from airflow_automl.local.training.engines.course import PER_CANDIDATE, Course, Stopped
from airflow_automl.local.training.engines.tabular.ensembling.model import distributions
from airflow_automl.local.training.engines.tabular.ensembling.plan import settings
from airflow_automl.local.training.engines.tabular.tuning.features import NOTHING_VARIES


@dataclass(frozen=True)
class Snapshot:
    """What AutoGluon knew when a model was done.

    :param folder: copies of the predictor's small files, in AutoGluon's layout.
    :param models: folders of the models that this one needs, itself included.
    :param name: AutoGluon's name of the model.
    """

    folder: Path
    models: dict[str, Path]
    name: str

    @classmethod
    def take(cls, trainer: Any, name: str, folder: Path) -> Snapshot:
        """Freeze the state of a trainer in the middle of its fit; quick, the training waits for it.

        :param trainer: AutoGluon's trainer.
        :param name: the model that is done.
        """
        root = Path(trainer.path).parent
        (folder / "models").mkdir(parents=True)
        callbacks, trainer.callbacks = trainer.callbacks, []
        try:
            trainer.save()
        finally:
            trainer.callbacks = callbacks
        for path in root.iterdir():
            if path.is_file():
                shutil.copy2(path, folder / path.name)
        shutil.copy2(Path(trainer.path) / trainer.trainer_file_name, folder / "models")
        models = {
            needed: Path(trainer.path) / trainer.get_model_attribute(needed, "path")[-1]
            if isinstance(trainer.get_model_attribute(needed, "path"), tuple | list)
            else Path(trainer.path) / needed
            for needed in trainer.get_minimum_model_set(name)
        }
        if issubclass(trainer.get_model_attribute(name, "type"), WeightedEnsembleModel):
            # AutoGluon saves an ensemble again if some rows were not measured on.
            shutil.copytree(models[name], folder / "models" / name)
        return cls(folder, models, name)

    def strip(self) -> None:
        """Keep one model and what it needs, so that the artefact is small and opens fast."""
        from autogluon.tabular import TabularPredictor

        for name, path in self.models.items():
            # Links, not copies: the files of the other models never change.
            if not (copied := self.folder / "models" / name).exists():
                shutil.copytree(path, copied, copy_function=os.link)
        predictor = TabularPredictor.load(str(self.folder))
        predictor.delete_models(models_to_keep=[self.name], delete_from_disk=False)
        predictor.set_model_best(self.name, save_trainer=True)


def containers(uri: str, model: str, problem_type: str) -> list[dict[str, Any]]:
    """Return the one container of an ensembling candidate, with the environment that Autopilot gives it.

    :param uri: address of the ``model.tar.gz``.
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
    """Reports every model as a candidate: in progress, then completed once its artefact is in S3.

    Artefacts are packed and uploaded one after the other in a thread of their own, while the next model trains.
    """

    def __init__(self, course: Course, dataset: TabularDataset) -> None:
        super().__init__()
        self._course = course
        self._dataset = dataset
        self._rows: Any = None
        self._current: str | None = None
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="export")
        self._pending: list[Future[None]] = []
        self.candidates: dict[str, Candidate] = {}
        """AutoGluon's name → its candidate."""
        self.answers: dict[str, np.ndarray] = {}
        """AutoGluon's name → predictions or probabilities for the validation rows."""

    def __getstate__(self) -> dict[str, Any]:
        # AutoGluon pickles its trainer with the callbacks in it; a watch belongs to this process alone.
        return {}

    def wait(self) -> None:
        """Return when all artefacts are in S3."""
        for future in self._pending:
            future.result()

    def close(self) -> None:
        """Drop what has not begun and end the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def before_trainer_fit(self, trainer: Any, **kwargs: Any) -> None:
        """Keep the validation rows as AutoGluon transformed them; without any, models are cross-validated."""
        self._rows = kwargs["X_val"]

    def _before_model_fit(
        self, trainer: Any, model: Any, time_limit: float | None = None, stack_name: str = "core", **kwargs: Any
    ) -> tuple[bool, bool]:
        self._current = model.name
        limit: float | None = self._course.criteria.get(PER_CANDIDATE)
        what = f"{PER_CANDIDATE} (%g s)"
        # A forest that looks at no clock would take the time of the ensemble, which comes last.
        if stack_name == "core" and self.answers and time_limit is not None and time_limit < (limit or math.inf):
            limit, what = time_limit, "the time that the job had left (%.0f s)"
        if limit is not None:
            enforce(model, limit, what % limit)
        spec = self._course.run.spec
        steps = [
            step(spec, "processing-job", "db-1"),
            step(spec, "training-job", f"t{len(self.candidates) + 1}-{model.name}"),
        ]
        self.candidates[model.name] = self._course.begin(model.name, steps)
        # A bag's own are how it trains its folds.
        learner = model.get_params().get("model_base", model)
        self.candidates[model.name].parameters = settings(learner.get_params()["hyperparameters"] or {})
        return False, False

    def _after_model_fit(self, trainer: Any, model_names: list[str], **kwargs: Any) -> bool:
        for name in model_names:
            self._finished(trainer, name)
        if not model_names and self._current is not None:
            self._course.end(self.candidates[self._current], _why(trainer, self._current))
        self._current = None
        return False

    def _finished(self, trainer: Any, name: str) -> None:
        candidate = self.candidates[name]
        if self._rows is None:
            predicted = trainer.get_model_oof(name)[: len(self._dataset.validation)]
        else:
            predicted = trainer.get_model_pred_proba_dict(self._rows, [name], use_val_cache=True)[name]
        self._measure(name, np.asarray(predicted, dtype="float64"))
        key = f"sagemaker-automl-candidates/model/{candidate.name}/model.tar.gz"
        snapshot = Snapshot.take(trainer, name, self._course.folder(key))
        self._pending.append(self._pool.submit(self._publish, candidate, snapshot, key))

    def _publish(self, candidate: Candidate, snapshot: Snapshot, key: str) -> None:
        data = self._dataset
        metadata = {
            "engine": "autogluon",
            "target": data.target,
            "features": [feature.as_json() for feature in data.features],
            "escaped": data.escaped,
            "labels": list(data.labels),
            "model": snapshot.name,
            "threshold": candidate.threshold,
            "libraries": artifacts.versions(distributions(list(snapshot.models))),
        }
        try:
            uri, digest = self._course.publish(key, metadata, lambda folder: snapshot.strip())
        except Exception as error:
            self._course.end(candidate, error)
        else:
            candidate.containers = containers(uri, snapshot.name, data.problem_type)
            self._course.end(candidate, {uri: digest})

    def _measure(self, name: str, predicted: np.ndarray) -> None:
        data, candidate = self._dataset, self.candidates[name]
        truth = data.validation[data.target].to_numpy()
        weights = data.weights(data.validation)
        if data.problem_type == BINARY:
            predicted = np.column_stack([1 - predicted, predicted])
        self.answers[name] = predicted
        if data.classification:
            position = {label: code for code, label in enumerate(data.labels)}
            actual = np.array([position[label] for label in truth.tolist()])
            candidate.threshold = metrics.decide(data.objective, actual, predicted, weights)
        candidate.validation = metrics.scores(
            data.problem_type, truth, predicted, data.labels, weights, candidate.threshold
        )


def _why(trainer: Any, name: str) -> Exception:
    """Return why AutoGluon gave a model up; it does not say so if there was no time to begin."""
    known = getattr(trainer, "_models_failed_to_train_errors", {}).get(name)
    if known is None or known["exc_type"] in {"TimeLimitExceeded", "InsufficientTime"}:
        said = "" if known is None else str(known["exc_str"])
        return Stopped(said if _ENDED in said else f"There was not enough time left to train {name}.")
    if known["exc_type"] == "NoValidFeatures":
        return JobFailure(NOTHING_VARIES)
    return JobFailure(cause(f"{known['exc_type']}: {known['exc_str']}"))


_ENDED = "was still training after"


def enforce(model: Any, seconds: float, what: str) -> None:
    """Let a model train in a process of its own, which is killed when its time is over (R51).

    :param model: AutoGluon's, not yet fitted; its ``fit`` raises ``TimeLimitExceeded`` if it was killed, after which
        AutoGluon continues with the next model.
    :param what: names the limit.
    """
    kind, path, name = type(model), model.path, model.name

    def fit(**arguments: Any) -> Any:
        # The fitted model is pickled: it must not have this function in it.
        del model.fit

        def work(ask: isolation.Ask) -> None:
            model.fit(**arguments).save()

        try:
            isolation.run(work, seconds)
        except isolation.Overrun:
            raise TimeLimitExceeded(f"{name} {_ENDED} {what} and was ended.") from None
        return kind.load(path)

    model.fit = fit
