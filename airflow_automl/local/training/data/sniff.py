"""The format of a downloaded file, by its bytes, so that messages can name a wrong content type."""

from __future__ import annotations

import gzip
import shutil
import zlib
from pathlib import Path

from airflow_automl.local.errors import JobFailure

_HEAD = 1 << 16
_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
_SIGNATURES = (
    (b"PK\x03\x04", "a ZIP archive (or an Excel workbook)"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%PDF", "a PDF document"),
    (b"\xff\xfe", "text in UTF-16; use UTF-8"),
    (b"\xfe\xff", "text in UTF-16; use UTF-8"),
    *((b"BZh%d1AY&SY" % level, "a bzip2 archive") for level in range(1, 10)),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"Obj\x01", "an Avro file"),
    (b"{\\rtf", "a document in Rich Text Format"),
    (b"<!DOCTYPE", "HTML, which may be an error page"),
    (b"<html", "HTML, which may be an error page"),
    (b"<?xml", "XML, which may be an error message"),
    (b'{"', "JSON"),
    (b'[{"', "JSON"),
)


def decompress(path: Path, uri: str, limit: int) -> Path:
    """Unpack a gzip file next to itself and remove the packed one.

    :param path: the downloaded file.
    :param uri: the object's address, for the message.
    :param limit: bytes that it may unpack to; a tenth of the free disk is always left to others.
    :return: the unpacked file.
    :raises JobFailure: the file is not gzip, is cut off, or unpacks to more than it may.
    """
    if not is_gzip(path):
        raise JobFailure(f"{uri} is not gzip-compressed, but the channel's CompressionType is Gzip.")
    unpacked = path.with_name(path.name + ".unpacked")
    try:
        room = int(0.9 * shutil.disk_usage(path.parent).free)
        with gzip.open(path, "rb") as packed, unpacked.open("wb") as file:
            while chunk := packed.read(_CHUNK):
                if file.tell() + len(chunk) > min(limit, room):
                    most = f"the channel's limit of {limit} bytes" if limit <= room else "what the disk has room for"
                    raise JobFailure(f"{uri} unpacks to more than {most}: use less data.")
                file.write(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise JobFailure(f"{uri} is a damaged gzip file: {error}.") from error
    except OSError as error:
        raise JobFailure(f"{uri} could not be unpacked: {error.strerror or error}.") from error
    path.unlink()
    return unpacked


def is_gzip(path: Path) -> bool:
    """Whether a file begins as gzip does."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def require_csv(path: Path, uri: str) -> None:
    """Refuse what is not CSV text.

    :raises JobFailure: the file is empty or holds something else; the message says what.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    tail = _tail(path)
    if not head.strip():
        raise JobFailure(f"{uri} is empty.")
    # The first column may be called PAR1 or ORCID; these formats have their marks at the end, too.
    if head.startswith(b"ORC") and tail.startswith(b"\x03ORC"):
        raise JobFailure(f"{uri} is not CSV: it is an ORC file.")
    if head.startswith(_PARQUET) and tail.endswith(_PARQUET):
        raise JobFailure(
            f"{uri} is not CSV but Parquet: set the channel's ContentType to x-application/vnd.amazon+parquet."
        )
    if head.startswith(_GZIP):
        raise JobFailure(f"{uri} is not CSV but gzip-compressed: set the channel's CompressionType to Gzip.")
    for signature, meaning in _SIGNATURES:
        if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(signature):
            raise JobFailure(f"{uri} is not CSV: it is {meaning}.")
    if head.removeprefix(b"\xef\xbb\xbf").startswith(b"sep="):
        raise JobFailure(f"{uri} begins with Excel's line 'sep=': remove it, and separate the columns by commas.")
    if b"\x00" in head:
        raise JobFailure(f"{uri} is not CSV: it contains binary data (a NUL byte at offset {head.index(0)}).")
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # The head may end within a character.
        if len(head) < _HEAD or error.start < len(head) - 4:
            raise JobFailure(f"{uri} is not UTF-8 text (byte offset {error.start}): store the CSV as UTF-8.") from error


def require_parquet(path: Path, uri: str) -> None:
    """Refuse what is not Parquet.

    :raises JobFailure: the file is empty or holds something else.
    """
    with path.open("rb") as file:
        head = file.read(4)
    if not head:
        raise JobFailure(f"{uri} is empty.")
    if head != _PARQUET or not _tail(path).endswith(_PARQUET):
        raise JobFailure(
            f"{uri} is not Parquet, but the channel's ContentType is x-application/vnd.amazon+parquet: "
            "set it to text/csv;header=present if the data is CSV."
        )


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-min(5, path.stat().st_size), 2)
        return file.read()


def is_blank(path: Path) -> bool:
    """Whether a file holds nothing but blanks."""
    if path.stat().st_size > _HEAD:
        return False
    return not path.read_bytes().removeprefix(b"\xef\xbb\xbf").strip()
