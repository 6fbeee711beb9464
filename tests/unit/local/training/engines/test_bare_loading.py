"""Artefacts of texts and images open where nothing is installed but what serving needs."""

import json
import subprocess
import sys

import numpy as np
import pytest

from airflow_automl.local.models import artifacts, weights
from airflow_automl.local.training.data.codec import Codec, Kind
from airflow_automl.local.training.engines.classification.approach import Samples
from airflow_automl.local.training.engines.course import Clock

needed = ("minilm-int8", "minilm-tokenizer", "efficientnet-lite0")
pytestmark = pytest.mark.skipif(not all(map(weights.available, needed)), reason="needs the weights")

CODES = np.array([0, 1] * 4)

SCRIPT = """
import importlib.abc, json, sys

class Bare(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"sklearn", "torch", "autogluon", "airflow", "boto3", "optuna", "transformers"}:
            raise ImportError(f"{name} is not installed in this test")

sys.meta_path.insert(0, Bare())
import pandas as pd
from airflow_automl.local.models import artifacts

text = artifacts.load(sys.argv[1])
image = artifacts.load(sys.argv[2])
texts = pd.DataFrame({"text": ["a sweet apple"]})
print(json.dumps([text.predict(texts), image.predict([open(sys.argv[3], "rb").read()])]))
"""


def packed(folder, name, trained, **metadata):
    files, archive = folder / name, folder / f"{name}.tar.gz"
    files.mkdir()
    trained.save(files)
    artifacts.pack(files, {"labels": ["fruit", "tool"], "settings": {}, **metadata}, archive)
    return archive


def test_both_open_without_the_libraries_that_trained_them(tmp_path):
    from PIL import Image

    from airflow_automl.local.training.engines.image.backbone import Backbone
    from airflow_automl.local.training.engines.text.minilm import MiniLm

    texts = [f"{('a ripe pear', 'a steel hammer')[code]} {number}" for number, code in enumerate(CODES)]
    pictures = []
    for number, code in enumerate(CODES):
        picture = np.full((224, 224, 3), (250, 5)[code], dtype="uint8")
        picture[: 10 * number + 1] = 128
        pictures.append(tmp_path / f"{number}.npy")
        np.save(pictures[-1], picture)
    text = MiniLm().train(Samples(texts, CODES, texts, CODES, ("fruit", "tool")), Clock(None), 1)
    image = Backbone().train(Samples(pictures, CODES, pictures, CODES, ("fruit", "tool")), Clock(None), 1)
    column = Codec("text", Kind.TEXT).as_json()
    archives = [
        packed(tmp_path, "t", text, engine="text", approach="minilm", problem_type="x", features=[column]),
        packed(tmp_path, "i", image, engine="image", approach="efficientnet-lite0", problem_type="x"),
    ]
    Image.new("RGB", (40, 30), (250, 250, 250)).save(tmp_path / "white.png")

    command = [sys.executable, "-c", SCRIPT, *map(str, archives), str(tmp_path / "white.png")]
    answer = subprocess.run(command, check=False, capture_output=True, text=True)

    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == [["fruit"], ["fruit"]]
