"""Pictures of every kind that the two formats allow, and some that only claim to be pictures."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from airflow_automl.local.training.engines.image import pictures
from airflow_automl.local.training.engines.image.pictures import PictureError


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def halves(mode="RGB", size=(60, 40)):
    """Red to the left, blue to the right."""
    image = Image.new("RGB", size, (200, 30, 30))
    image.paste((30, 30, 200), (size[0] // 2, 0, *size))
    return image.convert(mode)


def is_halves(found):
    left, right = found[112, 40].astype(int), found[112, 190].astype(int)
    return abs(left - [200, 30, 30]).max() < 25 and abs(right - [30, 30, 200]).max() < 25


@pytest.mark.parametrize(
    "content",
    [
        encode(halves()),
        encode(halves("P")),
        encode(halves("RGBA")),
        encode(halves("P"), transparency=255),
        encode(halves(), "JPEG", quality=95),
        encode(halves(), "JPEG", quality=95, progressive=True),
        encode(halves(size=(6000, 4000)), "JPEG"),
        encode(halves(size=(3, 500))),
    ],
    ids=["rgb", "palette", "rgba", "transparent palette", "jpeg", "progressive", "huge jpeg", "narrow"],
)
def test_colours_are_preserved(content):
    found = pictures.read(content)

    assert found.shape == (224, 224, 3)
    assert found.dtype == np.uint8
    assert is_halves(found)


def test_cmyk_becomes_rgb():
    assert is_halves(pictures.read(encode(halves("CMYK"), "JPEG", quality=95)))


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_becomes_three_equal_colours(mode):
    found = pictures.read(encode(halves("L").convert(mode)))

    assert (found[..., 0] == found[..., 1]).all()
    assert (found[..., 0] == found[..., 2]).all()


@pytest.mark.parametrize("used", [10, 12, 16])
def test_sixteen_bits_of_grey_keep_their_range_even_if_few_are_used(used):
    steep = np.linspace(0, 2**used - 1, 224 * 224).reshape(224, 224).astype("uint16")

    found = pictures.read(encode(Image.fromarray(steep)), used)

    assert found.min() < 3
    assert found.max() > 252
    assert abs(found[112, 112].astype(int) - 128).max() < 4


def test_one_bright_pixel_does_not_make_the_others_darker():
    grey = np.full((500, 500), 1000, dtype="uint16")
    dark = pictures.read(encode(Image.fromarray(grey)), 12)
    grey[0, 0] = 4095
    assert (pictures.read(encode(Image.fromarray(grey)), 12)[100:] == dark[100:]).all()
    assert dark[112, 112].tolist() == [62, 62, 62]


def test_large_pictures_are_shrunk_before_they_are_changed(monkeypatch):
    composed = []
    compose = Image.alpha_composite
    monkeypatch.setattr(Image, "alpha_composite", lambda *images: composed.append(images[0].size) or compose(*images))
    assert is_halves(pictures.read(encode(halves("RGBA", (4000, 3000)))))
    assert composed == [(224, 224)]


def test_transparent_pixels_become_white():
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))

    assert (pictures.read(encode(clear)) == 255).all()


def test_a_picture_is_rotated_by_its_exif_orientation():
    turned = halves().transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise

    assert is_halves(pictures.read(encode(turned, "JPEG", exif=exif, quality=95)))


def test_one_pixel_is_a_picture():
    assert (pictures.read(encode(Image.new("RGB", (1, 1), (9, 99, 199)))) == (9, 99, 199)).all()


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [(100_000, 33_000, "more than 50 million pixels"), (10_000, 6_000, "10000 by 6000 pixels; at most 50 million")],
)
def test_a_bomb_is_not_opened(width, height, reason):
    """A kilobyte that would be gigabytes of pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 20))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")

    with pytest.raises(PictureError, match=reason):
        pictures.read(bomb)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"GIF89a", "neither PNG nor JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "neither PNG nor JPEG"),
        (encode(halves())[:100], "damaged PNG"),
        (encode(halves(), "JPEG")[:300], "damaged JPEG"),
        (encode(halves())[:8] + bytes(100), "damaged PNG"),
    ],
    ids=["empty", "gif", "svg", "cut png", "cut jpeg", "noise"],
)
def test_a_file_that_is_not_a_picture_is_refused(content, reason):
    with pytest.raises(PictureError, match=reason):
        pictures.read(content)


def test_a_file_is_read_like_its_content(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(encode(halves()))

    assert (pictures.read(path) == pictures.read(path.read_bytes())).all()
    assert pictures.inlined(pictures.read(path), 8).startswith("data:image/png;base64,")
