"""The files of a model that AutoGluon just finished, kept while the next one trains."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
        :param folder: where the copies go.
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
        return cls(folder, models, name)

    def strip(self) -> None:
        """Keep one model and what it needs, so that the artefact is small and opens fast."""
        from autogluon.tabular import TabularPredictor

        for name, path in self.models.items():
            # Links, not copies: the files of a finished model never change.
            shutil.copytree(path, self.folder / "models" / name, copy_function=os.link)
        predictor = TabularPredictor.load(str(self.folder))
        predictor.delete_models(models_to_keep=[self.name], delete_from_disk=False)
        predictor.set_model_best(self.name, save_trainer=True)
