"""Lists of objects and of versions in S3's order. The store orders by folder and name, and lists folders without keys.

A list is read whole, level by level if it has more than one page, and sorted. Its later pages come from memory.
"""

from __future__ import annotations

import base64
import copy
import time
import xml.etree.ElementTree as ET
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple
from urllib.parse import quote, unquote_plus

PARAMETERS = frozenset(
    {
        *("list-type", "start-after", "continuation-token", "fetch-owner", "marker"),
        *("versions", "key-marker", "version-id-marker"),
        *("prefix", "delimiter", "max-keys", "encoding-type", "x-id"),
    }
)
"""All that a request for a list of objects or versions has in its query."""

#: Query → the store's list of the bucket.
Ask = Callable[[Mapping[str, str]], ET.Element]

_PAGE = 1000
#: Seconds for which a list waits for its next page, and how many lists do.
_KEPT_FOR, _KEPT = 60.0, 8


class _Entry(NamedTuple):
    """A key, a version of one, or a common prefix, which has no element."""

    key: str
    version: str
    element: ET.Element | None

    def newness(self) -> tuple[bool, str]:
        element = self.element if self.element is not None else ET.Element("CommonPrefixes")
        return element.findtext("IsLatest") == "true", element.findtext("LastModified", "")


class Lists:
    """Answers lists; keeps those that have a next page until it is asked for."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, ...], tuple[float, list[_Entry]]] = {}

    def forget(self) -> None:
        """Read all lists again, because something was written."""
        self._kept.clear()

    def answer(self, bucket: str, asked: Mapping[str, str], ask: Ask) -> bytes:
        """Answer a request for a list that the store accepts.

        :param asked: its query.
        :raises ValueError: ``max-keys`` or ``continuation-token`` is not valid.
        """
        versions, prefix, delimiter = "versions" in asked, asked.get("prefix", ""), asked.get("delimiter", "")
        size = min(int(asked.get("max-keys") or _PAGE), _PAGE)
        after, version = _position(asked)
        subject = (bucket, prefix, delimiter, str(versions))
        until, entries = self._kept.pop((*subject, after, version), (0.0, []))
        if until < time.monotonic():
            entries = list(_read(ask, prefix, delimiter, versions))
            entries.sort(key=_Entry.newness, reverse=True)
            entries.sort(key=lambda entry: entry.key)  # strings have the order of their UTF-8 bytes
        page: list[_Entry] = []
        more = False
        for entry in _after(entries, after, version) if size else ():
            if entry.element is None and not _holds_more(ask, entry.key, versions, after):
                continue
            if more := len(page) == size:
                break
            page.append(entry)
        if more:
            now = time.monotonic()
            self._kept = {place: kept for place, kept in self._kept.items() if kept[0] > now}
            if len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[(*subject, page[-1].key, page[-1].version)] = (now + _KEPT_FOR, entries)
        return _document(bucket, asked, page, more, size)


def holds_versions(ask: Ask) -> bool:
    """Return whether a bucket holds a version of an object, or a delete marker."""
    return any(True for _ in _entries(ask(_query("", True, 1)), "", ask))


def holds(ask: Ask, key: str) -> bool:
    """Return whether a bucket holds an object of this key."""
    return any(entry.key == key for entry in _entries(ask(_query(key, False, 2)), key, ask))


def _position(asked: Mapping[str, str]) -> tuple[str, str]:
    if "continuation-token" in asked:
        return base64.b64decode(asked["continuation-token"], altchars=b"-_", validate=True).decode(), ""
    names = ("key-marker",) if "versions" in asked else ("start-after",) if "list-type" in asked else ("marker",)
    return asked.get(names[0], ""), asked.get("version-id-marker", "")


def _after(entries: list[_Entry], after: str, version: str) -> Iterator[_Entry]:
    end = bisect_right(entries, after, key=lambda entry: entry.key)
    begin = end
    if version:
        # If that version was deleted, its successor is unknown: all versions of the key are listed again.
        while begin and entries[begin - 1].key == after:
            begin -= 1
        begin = next((at + 1 for at in range(begin, end) if entries[at].version == version), begin)
    # A common prefix includes keys that sort after it.
    for entry in entries[:begin]:
        if entry.element is None and entry.key != after and after.startswith(entry.key):
            yield entry
    yield from entries[begin:]


def _holds_more(ask: Ask, prefix: str, versions: bool, after: str) -> bool:
    if after.startswith(prefix):
        return any(entry.key > after for entry in _all(ask, prefix, versions))
    return any(True for _ in _entries(ask(_query(prefix, versions, 2)), prefix, ask))


def _read(ask: Ask, prefix: str, delimiter: str, versions: bool) -> Iterator[_Entry]:
    if delimiter == "/":
        yield from _level(ask, prefix, versions)
        return
    known = set()
    for entry in _all(ask, prefix, versions):
        head, cut, _ = entry.key[len(prefix) :].partition(delimiter) if delimiter else (entry.key, "", "")
        if not cut:
            yield entry
        elif (common := prefix + head + cut) not in known:
            known.add(common)
            yield _Entry(common, "", None)


def _all(ask: Ask, prefix: str, versions: bool) -> Iterator[_Entry]:
    page = ask(_query(prefix, versions))
    if page.findtext("IsTruncated") != "true":
        yield from _entries(page, prefix, ask)
        return
    for entry in _level(ask, prefix, versions):
        if entry.element is None:
            yield from _all(ask, entry.key, versions)
        else:
            yield entry


def _level(ask: Ask, prefix: str, versions: bool) -> Iterator[_Entry]:
    query = {**_query(prefix, versions), "delimiter": "/"}
    known = set()
    while True:
        page = ask(query)
        more, new = page.findtext("IsTruncated") == "true", False
        last = page.findtext("NextKeyMarker" if versions else "NextContinuationToken", "")
        for entry in chain(_entries(page, prefix, ask), _passed_over(ask, prefix, last, versions) if more else ()):
            if entry[:2] not in known:
                known.add(entry[:2])
                new = True
                yield entry
        if not more:
            return
        if versions:
            # After the folder 'b/', the store does not list 'b-': it continues after both names.
            query["key-marker"] = last.removesuffix("/") if new else last
            query["version-id-marker"] = page.findtext("NextVersionIdMarker", "")
        else:
            query["continuation-token"] = last


def _passed_over(ask: Ask, prefix: str, last: str, versions: bool) -> Iterator[_Entry]:
    """Yield what the store's next page does not list: it orders by ``<key>.versions``, and 'b-' is before 'b' there."""
    last = last.removesuffix(".versions")
    for end in range(max(len(prefix), last.rstrip("/").rfind("/") + 2), len(last)):
        if last[end] <= "/":
            key = last[:end]
            for entry in _level(ask, f"{key}.versions", True):
                if entry.key == key and entry.element is not None:
                    if versions:
                        yield entry
                    elif entry.element.tag == "Version" and entry.element.findtext("IsLatest") == "true":
                        entry.element.tag = "Contents"
                        for each in [each for each in entry.element if each.tag in ("VersionId", "IsLatest")]:
                            entry.element.remove(each)
                        yield _Entry(key, "", entry.element)
            if any(True for _ in _entries(ask(_query(f"{key}/", True, 1)), "", ask)):
                yield _Entry(f"{key}/", "", None)


def _query(prefix: str, versions: bool, size: int = _PAGE) -> dict[str, str]:
    kind = {"versions": ""} if versions else {"list-type": "2", "fetch-owner": "true", "encoding-type": "url"}
    return {**kind, "prefix": prefix, "max-keys": str(size)}


def _entries(page: ET.Element, prefix: str, ask: Ask) -> Iterator[_Entry]:
    encoded = page.findtext("EncodingType") == "url"
    for element in page:
        if element.tag == "CommonPrefixes":
            name = element.findtext("Prefix", "")
            yield _Entry(unquote_plus(name) if encoded else name, "", None)
        elif element.tag in ("Contents", "Version", "DeleteMarker"):
            name = element.findtext("Key", "")
            key = unquote_plus(name) if encoded else name
            # Asked for 'folder/', the store lists an empty folder as a key. Asked for 'folder', it does not.
            if key == prefix and element.tag == "Contents" and key.endswith("/"):
                asked = {**_query(prefix[:-1], False, 2)}
                if name not in [each.findtext("Key") for each in ask(asked).iter("Contents")]:
                    continue
            yield _Entry(key, element.findtext("VersionId", ""), element)


def _document(bucket: str, asked: Mapping[str, str], page: list[_Entry], more: bool, size: int) -> bytes:
    encode = (lambda text: quote(text, safe="/")) if asked.get("encoding-type") == "url" else str
    versions, second = "versions" in asked, asked.get("list-type") == "2"
    last = page[-1] if more else None
    members: dict[str, str | None] = {"Name": bucket, "Prefix": encode(asked.get("prefix", ""))}
    if versions:
        members |= {
            "KeyMarker": encode(asked.get("key-marker", "")),
            "VersionIdMarker": asked.get("version-id-marker", ""),
            "NextKeyMarker": encode(last.key) if last else None,
            "NextVersionIdMarker": last.version or None if last else None,
        }
    elif second:
        members |= {
            "StartAfter": encode(asked["start-after"]) if "start-after" in asked else None,
            "ContinuationToken": asked.get("continuation-token"),
            "NextContinuationToken": base64.urlsafe_b64encode(last.key.encode()).decode() if last else None,
            "KeyCount": str(len(page)),
        }
    else:
        members["Marker"] = encode(asked.get("marker", ""))
        members["NextMarker"] = encode(last.key) if last and asked.get("delimiter") else None
    members |= {
        "Delimiter": encode(asked["delimiter"]) if asked.get("delimiter") else None,
        "MaxKeys": str(size),
        "EncodingType": asked.get("encoding-type"),
        "IsTruncated": str(more).lower(),
    }
    root = ET.Element(
        "ListVersionsResult" if versions else "ListBucketResult", xmlns="http://s3.amazonaws.com/doc/2006-03-01/"
    )
    for name, value in members.items():
        if value is not None:
            ET.SubElement(root, name).text = value
    for entry in page:
        if entry.element is None:
            ET.SubElement(ET.SubElement(root, "CommonPrefixes"), "Prefix").text = encode(entry.key)
            continue
        element = copy.deepcopy(entry.element)
        key, owner = element.find("Key"), element.find("Owner")
        assert key is not None  # noqa: S101
        key.text = encode(entry.key)
        if second and owner is not None and asked.get("fetch-owner") != "true":
            element.remove(owner)
        root.append(element)
    # A parser reads a carriage return as a line feed.
    return bytes(ET.tostring(root, "UTF-8", xml_declaration=True)).replace(b"\r", b"&#13;")
