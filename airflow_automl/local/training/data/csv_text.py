r"""CSV as people write it → plain CSV: quotes are doubled, and no byte order mark stands before a row.

Spark and others escape a quote inside a value with a backslash (``\"``), which plain CSV doubles (``""``). Each text
is judged by itself, because the wrong reading loses rows: files of a channel, bodies of requests and objects of a batch
transform. A text that fits both readings is read as the model's training data was.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

PLAIN = "escape=absent"
"""Parameter of the content type ``text/csv``: no quote is escaped by a backslash."""

_MARK = b"\xef\xbb\xbf"
_MARKS = re.compile(rb"(^|[\r\n])(?:\xef\xbb\xbf)+")
_BACKSLASHES = re.compile(rb'(\\+)"')
# What is repeated possessively is atomic, too: CPython before 3.11.5 counts a part that begins to match (gh-106052).
_LEADING = re.compile(rb"(?:\xef\xbb\xbf)*+(?:(?>[ \t]*(?:\r\n|\n|\r)))*+(?:\xef\xbb\xbf)*+")
_END = rb"(?:\r\n|\n|\r)"
_STRICT = rb'(?:"(?:[^"]++|"")*+"|[^",\r\n]*+)'
_ESCAPED = rb'(?:"(?:[^"\\]++|\\.|"")*+"|[^",\r\n]*+)'
# A value of a lenient parser: quotes matter at its beginning only.
_VALUE = rb'(?:"(?:[^"]++|"")*+"[^,\r\n]*+|[^",\r\n][^,\r\n]*+|)'
_ROW = re.compile(rb"(%b(?:,%b)*+)%b" % (_VALUE, _VALUE, _END))
_ROWS = re.compile(rb"(?:(?>%b))*+" % _ROW.pattern)
_CHUNK = 1 << 20


def needs_care(data: Any) -> bool:
    """Whether a text has what plain CSV would read otherwise: a backslash before a quote, or a byte order mark."""
    # Bytes that most texts lack are searched first: that takes a fraction of the time.
    return (b'"' in data and b'\\"' in data) or (_MARK[:1] in data and _MARK in data)


def escapes(data: Any) -> bool | None:
    """Whether backslashes escape quotes in a text that starts with a row of the usual width.

    :param data: the text, of any type that has bytes.
    :return: ``None`` if it is as much of a table in both readings.
    """
    if _BACKSLASHES.search(data) is None:
        return False
    plain, escaped = _reach(data, _STRICT), _reach(data, _ESCAPED)
    return None if plain == escaped else escaped > plain


def _reach(data: Any, value: bytes) -> int:
    """Up to where a text is a table: all values are quoted rightly, and all rows have as many of them."""
    one, width, place = re.compile(value, re.DOTALL), 1, start(data)
    first = place
    while data[(place := one.match(data, place).end()) : place + 1] == b",":  # type: ignore[union-attr]
        width, place = width + 1, place + 1
    rows = re.compile(rb"(?:(?>(?:%b,){%d}%b(?:%b|\Z)|%b))*+" % (value, width - 1, value, _END, _END), re.DOTALL)
    return rows.match(data, first).end()  # type: ignore[union-attr]


def start(data: Any) -> int:
    """Where the first row of a text begins that is not only blanks."""
    return _LEADING.match(data).end()  # type: ignore[union-attr]


def plain(data: bytes, escaped: bool) -> bytes:
    """A text as plain CSV.

    :param data: the text, or lines of it.
    :param escaped: whether backslashes escape quotes.
    """
    data = _MARKS.sub(rb"\1", data)
    return _BACKSLASHES.sub(_doubled, data) if escaped else data


def _doubled(found: re.Match[bytes]) -> bytes:
    count = len(found[1])
    return b"\\" * (count // 2) + (b'""' if count % 2 else b'"')


def body(data: bytes, content_type: str | None, escaped: bool) -> bytes:
    """The body of a request as plain CSV.

    :param data: the body.
    :param content_type: its type; with :data:`PLAIN` it is plain CSV.
    :param escaped: whether backslashes escape quotes in the model's training data.
    """
    if not needs_care(data):
        return data
    found = False if PLAIN in (content_type or "") else escapes(data)
    return plain(data, escaped if found is None else found)


def make_plain(path: Path, escaped: bool) -> None:
    """Make a file plain CSV.

    :param path: of the file.
    :param escaped: as for :func:`body`.
    """
    with path.open("rb") as file:
        block = b""
        while chunk := file.read(_CHUNK):
            block = block[-2:] + chunk
            if needs_care(block):
                break
        else:
            return
    found = judge(path)
    rewrite(path, escaped if found is None else found)


def judge(path: Path) -> bool | None:
    """Whether backslashes escape quotes in a file, as :func:`escapes` says."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return escapes(data)


def rewrite(path: Path, escaped: bool) -> None:
    """Write a file again as :func:`plain` has it."""
    made = path.with_name(path.name + ".plain")
    with path.open("rb") as source, made.open("wb") as target:
        for line in source:
            target.write(plain(line, escaped))
    made.replace(path)


def whole(data: bytes) -> int:
    """Where the last row of plain CSV ends whose end is there; 0 if there is none."""
    end = 0 if b'"' in data else data.rfind(b"\n") + 1
    return end or _ROWS.match(data).end()  # type: ignore[union-attr]


def rows(data: bytes) -> list[bytes]:
    """The rows of plain CSV as they are written, without the ends of their lines and without empty lines."""
    if b'"' not in data:
        return list(filter(None, data.splitlines()))
    end = whole(data)
    return list(filter(None, [*_ROW.findall(data[:end]), data[end:].rstrip(b"\r\n")]))


def blocks(
    handle: IO[bytes], size: Callable[[], int], longest: int, whole: Callable[[bytes], int] = whole
) -> Iterator[bytes]:
    """Cut a text into blocks of whole rows.

    :param handle: the text.
    :param size: bytes of the next block at most, unless it has a longer row.
    :param longest: bytes that a row may have; 0 for no limit. Of a longer one only the beginning is read and returned.
    :param whole: where the last row ends whose end is there.
    """
    rest, wanted = b"", size()
    while True:
        asked = min(wanted, longest + 2 if longest else wanted) - len(rest)
        chunk = handle.read(asked)
        rest += chunk
        end = whole(rest)
        if len(chunk) < asked or (longest and not end and len(rest) > longest + 1):
            break
        if end:
            yield rest[:end]
            rest = rest[end:]
            wanted = max(size(), len(rest) + 1)
        else:
            # A row longer than a block is read again, each time with twice as much of it.
            wanted = 2 * len(rest)
    if rest:
        yield rest
