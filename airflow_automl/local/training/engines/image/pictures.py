"""Pictures of any size and kind → 224 by 224 pixels in colour."""

from __future__ import annotations

import base64
import contextlib
import io
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from airflow_automl.exceptions import AutoMLTerminalError

SIZE = 224
"""Height and width that every picture gets, whatever its proportions."""

MAX_PIXELS = 50_000_000
"""More are not opened: a file of a few kilobytes can claim gigabytes of pixels."""

MAX_BYTES = 64 << 20

_LARGE = 10_000_000
"""Pictures of more pixels are opened one at a time: each takes hundreds of megabytes."""

_one_large = threading.Lock()

_AVERAGED = frozenset({"L", "LA", "RGB", "RGBA", "I"})
"""Pillow's modes whose pixels can be averaged as they are."""

FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG"}
"""Content type → the format's name."""

_SIGNATURES = ((b"\x89PNG\r\n\x1a\n", "PNG"), (b"\xff\xd8\xff", "JPEG"))


class PictureError(AutoMLTerminalError):
    """Bytes that can't be used as a picture; the message says why."""


def sniff(content: bytes) -> str | None:
    """Return the format of a picture's first bytes: ``PNG`` or ``JPEG``, ``None`` for anything else."""
    return next((name for signature, name in _SIGNATURES if content.startswith(signature)), None)


def read(source: bytes | Path, bits: int = 16) -> np.ndarray:
    """Open a picture.

    It is turned as its camera says (EXIF), transparency becomes white, grey and CMYK become RGB, and the picture is
    stretched or shrunk to a square.

    :param source: the content of a PNG or JPEG file, or the file.
    :param bits: see :func:`coloured`.
    :return: 224 by 224 by 3, values from 0 to 255.
    :raises PictureError: the file is not a picture, is damaged, or is too large.
    """
    return coloured(squared(source), bits)


def coloured(square: np.ndarray, bits: int) -> np.ndarray:
    """Return a picture of :func:`squared` in colours.

    :param bits: how many of 16 bits of grey are used. All pictures of a model have the same, so that what one of them
        happens to hold does not change its brightness.
    """
    if square.ndim == 3:
        return square
    grey = (square * (255 / (2**bits - 1))).clip(0, 255).round().astype("uint8")
    return np.stack([grey] * 3, axis=2)


def bits_used(most: int) -> int:
    """Return how many of 16 bits cameras and scanners use that write no larger value than this."""
    return next((bits for bits in (8, 10, 12, 14) if most < 2**bits), 16)


def squared(source: bytes | Path) -> np.ndarray:
    """Open a picture as :func:`read` does, but leave 16 bits of grey as they are: 224 by 224 whole numbers."""
    from PIL import Image, ImageOps

    content = source.read_bytes() if isinstance(source, Path) else source
    if len(content) > MAX_BYTES:
        raise PictureError(f"it has {len(content) >> 20} MiB; at most {MAX_BYTES >> 20} MiB are read")
    kind = sniff(content)
    if kind is None:
        raise PictureError("it is neither PNG nor JPEG" if content else "it is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # Cameras write several pictures into one JPEG file: the first one is read.
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "MPO")) as opened:
                image: Any = opened
                _require_bounded(*image.size)
                # A large JPEG is decoded at a fraction of its size.
                image.draft("RGB", (2 * SIZE, 2 * SIZE))
                with _one_large if image.width * image.height > _LARGE else contextlib.nullcontext():
                    image.load()
                    # EXIF data can be damaged although the picture is not.
                    with contextlib.suppress(Exception):
                        ImageOps.exif_transpose(image, in_place=True)
                    return _square(image)
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureError(f"it has more than {MAX_PIXELS // 1_000_000} million pixels") from error
    except Exception as error:  # a damaged file makes Pillow raise almost anything
        raise PictureError(f"it is a damaged {kind} file: {error}") from error


def _require_bounded(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise PictureError(f"it has {width} by {height} pixels; at most {MAX_PIXELS // 1_000_000} million are read")


def _square(image: Any) -> np.ndarray:
    from PIL import Image

    # Shrunk before anything else, since each step makes a copy.
    if image.mode.startswith("I;16"):
        image = image.convert("I")
    elif image.mode not in _AVERAGED or "transparency" in image.info:
        image = image.convert("RGBA")
    darkest, brightest = image.getextrema() if image.mode == "I" else (0, 0)
    image = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, reducing_gap=3.0)
    if image.mode == "I":
        # Edges get values beyond those of the picture.
        return np.asarray(image).clip(max(darkest, 0), brightest).astype("uint16")
    if image.mode in {"RGBA", "LA"}:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def inlined(picture: np.ndarray, side: int = 96) -> str:
    """Return a small copy of a picture as a ``data:`` address."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
