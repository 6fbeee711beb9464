"""Pictures of any size and kind → 224 by 224 pixels in colour."""

from __future__ import annotations

import base64
import contextlib
import io
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

FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG"}
"""Content type → the format's name."""

_SIGNATURES = ((b"\x89PNG\r\n\x1a\n", "PNG"), (b"\xff\xd8\xff", "JPEG"))


class PictureError(AutoMLTerminalError):
    """Bytes that can't be used as a picture; the message says why."""


def sniff(content: bytes) -> str | None:
    """Return the format of a picture's first bytes: ``PNG`` or ``JPEG``, ``None`` for anything else."""
    return next((name for signature, name in _SIGNATURES if content.startswith(signature)), None)


def read(source: bytes | Path) -> np.ndarray:
    """Open a picture.

    It is turned as its camera says (EXIF), transparency becomes white, grey and CMYK become RGB, and the picture is
    stretched or shrunk to a square.

    :param source: the content of a PNG or JPEG file, or the file.
    :return: 224 by 224 by 3, values from 0 to 255.
    :raises PictureError: the file is not a picture, is damaged, or is too large.
    """
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
                image.load()
                # EXIF data can be damaged although the picture is not.
                with contextlib.suppress(Exception):
                    image = ImageOps.exif_transpose(image)
                square = _colours(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC, reducing_gap=3.0)
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureError(f"it has more than {MAX_PIXELS // 1_000_000} million pixels") from error
    except Exception as error:  # a damaged file makes Pillow raise almost anything
        raise PictureError(f"it is a damaged {kind} file: {error}") from error
    return np.asarray(square)


def _require_bounded(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise PictureError(f"it has {width} by {height} pixels; at most {MAX_PIXELS // 1_000_000} million are read")


def _colours(image: Any) -> Any:
    from PIL import Image

    if image.mode in {"I;16", "I;16B", "I", "F"}:
        # 16 bits of grey, which a plain conversion clips at 255. Cameras and scanners fill only some of the bits.
        values = np.asarray(image, dtype="float32").clip(0)
        most = next((2**bits - 1 for bits in (8, 10, 12, 14) if values.max() < 2**bits), 2**16 - 1)
        return Image.fromarray((values * (255 / most)).clip(0, 255).round().astype("uint8")).convert("RGB")
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", colours.size, "white")
        return Image.alpha_composite(white, colours).convert("RGB")
    return image.convert("RGB")


def inlined(picture: np.ndarray, side: int = 96) -> str:
    """Return a small copy of a picture as a ``data:`` address."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
