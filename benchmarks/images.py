"""Image classification against guessing and against scikit-learn, on images that nobody has seen.

``python benchmarks/images.py`` trains on two sets, always on the same split: digits written by hand (10 classes), and
patches of photographs, where each photograph is a class, learned on its left part and judged on its right part.
The photographs are those that installed packages bring; ``--photos DIR`` names a folder with more of them. Prints a
table in Markdown: accuracy on the images kept aside, the job's own accuracy on its validation images, time, memory and
the artefact's size. A job's time includes its reports.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from _classification import HEAD, Row, job, line, measured

SEED = 0
SIDE = 64
"""Pixels of a patch in each direction."""

Images = list[tuple[str, np.ndarray]]


def digits(_photos: Path | None) -> tuple[Images, Images]:
    """Digits, 8 by 8 pixels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(SEED).permutation(len(data.target))
    found = [(str(data.target[each]), (data.images[each] * 255 / 16).astype("uint8")) for each in order]
    return found[597:], found[:597]


def patches(photos: Path | None) -> tuple[Images, Images]:
    """Patches of photographs: to learn on from the left 60 %, to judge on from the right 30 %."""
    from PIL import Image

    random = np.random.default_rng(SEED)
    train: Images = []
    test: Images = []
    for path in _photographs(photos):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        height, width = pixels.shape[:2]
        for images, start, end, count in ((train, 0.0, 0.6, 40), (test, 0.7, 1.0, 20)):
            left, right = int(width * start), int(width * end) - SIDE
            for _ in range(count if right > left and height > SIDE else 0):
                top, column = int(random.integers(0, height - SIDE)), int(random.integers(left, right))
                images.append((path.stem, pixels[top : top + SIDE, column : column + SIDE]))
    return train, test


def _photographs(folder: Path | None) -> list[Path]:
    if folder is not None:
        return sorted(path for path in folder.iterdir() if path.suffix.lower() in {".png", ".jpg", ".jpeg"})
    import matplotlib as mpl
    import sklearn.datasets

    return [
        *sorted((Path(sklearn.datasets.__file__).parent / "images").glob("*.jpg")),
        *sorted((Path(mpl.get_data_path()) / "sample_data").glob("*.jpg")),
    ]


SETS: dict[str, Callable[[Path | None], tuple[Images, Images]]] = {"digits": digits, "patches": patches}


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def compare(name: str, photos: Path | None, threads: int) -> list[Row]:
    """The rows of one set."""
    train, test = SETS[name](photos)
    names, counts = np.unique([label for label, _ in train], return_counts=True)
    title = f"{name} ({len(train)}, {len(names)} classes)"
    truth = np.array([label for label, _ in test])
    guess = float((truth == names[counts.argmax()]).mean())

    def library() -> Callable[[], float]:
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC

        def pixels(images: Images) -> np.ndarray:
            step = max(1, images[0][1].shape[0] // 16)
            return np.stack([image[::step, ::step].ravel() for _, image in images]).astype("float32")

        model = make_pipeline(StandardScaler(), SVC(C=10)).fit(pixels(train), [label for label, _ in train])
        return lambda: float((model.predict(pixels(test)) == truth).mean())

    def accuracy(model: Any) -> float:
        return float((np.array(model.predict([_png(image) for _, image in test])) == truth).mean())

    files = {f"train/{label}/{number:05d}.png": _png(image) for number, (label, image) in enumerate(train)}
    jobs = job(title, files, {"ImageClassificationJobConfig": {}}, threads, accuracy)
    return [Row(title, "most frequent class", guess), measured(title, "scikit-learn SVC", library), *jobs]


def main() -> int:
    """Compare on the sets one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="a folder of photographs; by default those of installed packages")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sets", nargs="*", choices=list(SETS), default=list(SETS))
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": str(options.threads), "OMP_WAIT_POLICY": "passive"}
    print(HEAD, flush=True)
    for name in options.sets:
        for row in compare(name, options.photos, options.threads):
            print(line(row), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
