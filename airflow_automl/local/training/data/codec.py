"""How a column is read: decided once, from all values of the training data, and kept in the model's artefact.

Every value that a model ever sees goes through :meth:`Codec.read`: training and validation rows, requests in CSV and
JSON, batch transform, the loader's frames and the history of forecasts. So what training reads and what serving reads
cannot differ.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from airflow_automl.local.training.data import moments
from airflow_automl.local.training.data.columns import trimmed
from airflow_automl.local.training.data.values import FEW, Refused, by_type, distinct, is_text, plain

_NOT_A_NUMBER = ("NaN", "nan", "NAN", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN")
NULLS = frozenset(("", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "null", "NULL", "<NA>", *_NOT_A_NUMBER))
"""Marks of a missing value in every column, quoted or not, with or without blanks around them: those that pandas
knows, but for ``None``."""

_EXCEL_ERRORS = ("#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "#NAME?", "#NULL!")
_WORDS = ("None", "none", "NONE", "Null", "Nan", "\\N")
NUMERIC_NULLS = frozenset((*_WORDS, "?", "-", "\u2013", "\u2014", ".", *_EXCEL_ERRORS))
"""Marks of a missing value in columns of numbers and of moments; in a text column these are values like any other."""

_MARKS = pa.array(sorted(NULLS | NUMERIC_NULLS))

IDENTIFIER = "identifier"
"""The role of a column that identifies series: each value is a name, and only an empty cell is missing."""

ODD = 0.05
"""Up to this part of a column's distinct texts need not be dates, or numbers, if the others are."""

EXACT = 2**53
"""From here on, a float does not hold every whole number."""

LARGEST = float(np.finfo("float32").max)
"""What is larger is missing like an infinite number: most algorithms take 32-bit floats, and it is often a mark."""

_MINUS = "\u2212"
"""The minus that word processors and some spreadsheets write."""
_NUMBER = re.compile(r"[+\-\u2212]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_GROUPED = re.compile(r"[+\-\u2212]?\d{1,3}([,' \u00a0\u2009\u202f\u2019])\d{3}(\1\d{3})*(\.\d*)?", re.ASCII)
_FORMATTED = re.compile(r"[+\-\u2212(]?[$€£¥]?\s?\d+([,.'\s\u2019]\d{3})*([.,]\d+)?\s?[%€$£¥)]?")
_NO_DATE = re.compile(r"0{1,4}([-/.])0{1,2}(?:\1)0{1,4}([T ][0:.]+)?")
_DIGIT = re.compile(r"\d")
_FRACTION = re.compile(r"\D?\d*\.\d*[1-9].*|.*[eE][+-].*", re.ASCII)
_SHORT_CODE = re.compile(r"[+\-\u2212]?0\d{1,14}", re.ASCII)
POINT_ZERO = re.compile(r"[+\-\u2212]?\d+\.0", re.ASCII)
_LEADING_ZERO = re.compile(r"[+\-\u2212]?0\d", re.ASCII)
_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*+"
# Names of time zones are ambiguous: a date with one is not read.
_NAMED_MONTH = re.compile(
    rf"(?=.*\d{{4}})(?=.*{_MONTH})(?:[^a-z]|{_MONTH}|(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*+|[ap]m|utc|gmt|z|t)+",
    re.IGNORECASE,
)
FIRST, LAST = (np.datetime64(day, "us") for day in ("1677-09-22", "2262-04-11"))
"""The days that ``datetime64[ns]`` holds."""


class Kind(StrEnum):
    """What the values of a column are."""

    NUMBER = "number"
    MOMENT = "moment"
    BOOLEAN = "boolean"
    TEXT = "text"


@dataclass(frozen=True)
class Reading:
    """Values as a model takes them.

    :param values: 64-bit floats, ``datetime64[ns]``, or strings with ``None`` where one is missing.
    :param lost: positions of values that are there but can't be read, and so count as missing.
    """

    values: np.ndarray
    lost: np.ndarray


@dataclass(frozen=True)
class Codec:
    """One column that a model learns from, and how its values are read.

    :param name: the column.
    :param kind: what its values are.
    :param role: what the feature specification calls it (``numeric``, ``categorical``, ``text``, ``datetime``,
        ``sequence``), or ``auto``: then the engine decides.
    :param spelled: numbers and moments are names here, each with one spelling: ``1.0`` and ``1`` are the same.
    :param order: the order of day, month and year of moments; see :mod:`~airflow_automl.local.training.data.moments`.
    :param truths: how false and true are written; ``None`` if the training data has neither.
    :param digits: how many digits a code has: 0 if that differs, -1 if no number can stand for one because zeros lead
        codes of different lengths, ``None`` if the texts are not codes.
    :param pointed: whole numbers among the texts are written as ``1.0``, not as ``1``.
    :param odd: training values that are not dates, or not numbers, are missing, or all are: none is refused later.
    :param single: numbers are 32-bit floats: those of texts, which are shorter, and of 64 bits become the same.
    """

    name: str
    kind: Kind
    role: str = "auto"
    spelled: bool = False
    order: str = "ymd"
    truths: tuple[str, str] | None = None
    digits: int | None = None
    pointed: bool = False
    odd: bool = False
    single: bool = False

    def as_json(self) -> dict[str, Any]:
        """The codec as a model artefact keeps it: what differs from the defaults."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return {name: value for name, value in dataclasses.asdict(self).items() if value != defaults[name]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Codec:
        """The codec that :meth:`as_json` wrote."""
        truths = document.get("truths")
        return cls(**{**document, "kind": Kind(document["kind"]), "truths": tuple(truths) if truths else None})

    @property
    def numeric(self) -> bool:
        """Whether the values are floats."""
        return self.kind is Kind.NUMBER and not self.spelled

    @property
    def moment(self) -> bool:
        """Whether the values are ``datetime64[ns]``."""
        return self.kind is Kind.MOMENT and not self.spelled

    def read(self, values: pa.ChunkedArray) -> Reading:
        """Read values from anywhere.

        :param values: of any Arrow type; text is what CSV has.
        :raises Refused: a value can't be read, and the feature specification did not ask for this kind: then the
            training data has no such value.
        """
        reading = self._read(values)
        if self.single and self.numeric:
            return Reading(reading.values.astype("float32").astype("float64"), reading.lost)
        return reading

    def _read(self, values: pa.ChunkedArray) -> Reading:
        values = plain(values)
        if self.numeric and (pa.types.is_primitive(values.type) and not pa.types.is_timestamp(values.type)):
            return self._floats(values.cast(pa.float64(), safe=False))
        if self.moment and pa.types.is_timestamp(values.type):
            return self._moments(values)
        if self.numeric and len(values) > FEW and (numbers := _numbers(values)) is not None:
            return self._floats(numbers)
        found_values, indices = distinct(values)
        junk: list[int] = []
        out_of_range: list[int] = []
        found: list[Any] = []
        read = self._reader(is_text(values.type))
        for position, value in enumerate(found_values):
            entry = None if value is None else read(value)
            if entry is _JUNK or entry is _OUT_OF_RANGE:
                (junk if entry is _JUNK else out_of_range).append(position)
                entry = None
            found.append(entry)
        if junk and (self.spelled or not (self.odd or self.role in ("numeric", "datetime"))):
            row = junk[0] if indices is None else int(np.flatnonzero(np.isin(indices, junk))[0])
            raise Refused(row, f"the column '{self.name}' takes {self.takes}, not '{str(found_values[junk[0]])[:60]}'")
        lost = np.array(sorted(junk + out_of_range), dtype="int64")
        if self.numeric:
            result = np.array([math.nan if entry is None else entry for entry in found], dtype="float64") + 0.0
        elif self.moment:
            result = np.array(found, dtype="datetime64[us]").astype("datetime64[ns]")
        else:
            result = np.empty(len(found), dtype=object)
            result[:] = found
        if indices is None:
            return Reading(result, lost)
        return Reading(result[indices], np.flatnonzero(np.isin(indices, lost)) if len(lost) else lost)

    def take(self, values: Iterable[Any]) -> np.ndarray:
        """Read values of a request or of a frame's column, whose types may differ from one to the next.

        :raises Refused: as for :meth:`read`.
        """
        try:
            parts = by_type(values)
        except Refused as error:
            raise Refused(error.row, f"the column '{self.name}' takes {self.takes}, {error}") from error
        found: np.ndarray = np.empty(0)
        for number, (positions, part) in enumerate(parts):
            try:
                read = self.read(part).values
            except Refused as error:
                raise Refused(int(positions[error.row]), str(error)) from error
            if len(parts) == 1:
                return read
            found = found if number else np.empty(sum(len(entry[0]) for entry in parts), dtype=read.dtype)
            found[positions] = read
        return found

    def _floats(self, values: pa.ChunkedArray) -> Reading:
        # Other types of whole numbers have no negative zero.
        found: np.ndarray = values.to_numpy()
        # Arrays that share the table's memory are read-only.
        found = np.add(found, 0.0, out=found if found.flags.writeable else None)
        lost = np.flatnonzero(np.abs(found) > LARGEST)
        found[lost] = np.nan
        return Reading(found, lost)

    def _moments(self, values: pa.ChunkedArray) -> Reading:
        found: np.ndarray = values.cast(pa.timestamp("us"), safe=False).to_numpy()
        outside = (found < FIRST) | (found > LAST)
        if outside.any():
            found = np.where(outside, np.datetime64("NaT", "us"), found)
        return Reading(found.astype("datetime64[ns]"), np.flatnonzero(outside))

    @property
    def takes(self) -> str:
        """What a value must be, for messages."""
        if self.digits == -1:
            return "codes as texts, because numbers lose their zeros"
        return {Kind.NUMBER: "a number", Kind.MOMENT: "a date"}.get(self.kind, "a text") if not self.spelled else "text"

    def _reader(self, text: bool) -> Callable[[Any], Any]:
        if self.numeric:
            return self._number if text else _no_value
        if self.moment:
            return self._moment if text else _no_value
        return self._name if text else self._spell

    def _number(self, text: str) -> Any:
        text = trimmed(text)
        if text in NULLS or text in NUMERIC_NULLS:
            return None
        if _NUMBER.fullmatch(text):
            value = float(text.replace(_MINUS, "-"))
            return value if abs(value) <= LARGEST else _OUT_OF_RANGE
        if _INFINITE.fullmatch(text):
            return _OUT_OF_RANGE
        if self.role == "numeric" and _GROUPED.fullmatch(text):
            return float(re.sub(r"[^\d.-]", "", text.replace(_MINUS, "-")))
        if self.truths and text.lower() in _TRUTHS:
            return float(_TRUTHS.index(text.lower()))
        return _JUNK

    def _moment(self, text: str) -> Any:
        text = trimmed(text)
        if text in NULLS or _no_date(text):
            return None
        value = moments.parse(text, self.order)
        if value is None and self.role == "datetime" and _NAMED_MONTH.fullmatch(text):
            read = pd.to_datetime(text, format="mixed", dayfirst=self.order == "dmy", utc=True, errors="coerce")
            value = None if pd.isna(read) else read.tz_localize(None).to_pydatetime(warn=False)
        if value is None:
            return _JUNK
        return value if FIRST <= np.datetime64(value, "us") <= LAST else _OUT_OF_RANGE

    def _name(self, text: str) -> Any:
        """A text as the name of a category, or as a text to learn from."""
        text = trimmed(text)
        if not text or (text in NULLS and self.role != IDENTIFIER):
            return None
        if self.kind is Kind.BOOLEAN and text.lower() in (*_TRUTHS, "0", "1"):
            return self._truth(text.lower() in ("true", "1"))
        if self.kind is Kind.NUMBER:
            value = self._number(text)
            return text if value is _JUNK else None if value is None or value is _OUT_OF_RANGE else self._spelled(value)
        if self.kind is Kind.MOMENT:
            if _no_date(text):
                return None
            # A class keeps its name if that is 2024-01 or 5 March 2024.
            moment = moments.read(text, self.order)
            return text if moment is None else moments.as_written(moment)
        if self.digits is not None and self.digits >= 0 and _NUMBER.fullmatch(text) and not text.lstrip("-").isdigit():
            # pandas makes floats of whole numbers in a column with gaps.
            name = self._spell(float(text.replace(_MINUS, "-")))
            return text if name is _JUNK and self.role == IDENTIFIER else name
        return text

    def _spelled(self, value: float) -> str:
        return spelled(float(str(np.float32(value))) if self.single else value)

    def _spell(self, value: Any) -> Any:
        """A value that is not text, written as the training data writes it."""
        if isinstance(value, bool):
            return self._spelled(float(value)) if self.kind is Kind.NUMBER else self._truth(value)
        if isinstance(value, dt.datetime):
            return moments.as_written(value)
        if isinstance(value, dt.date):
            return value.isoformat()
        if not isinstance(value, int | float):
            return self._name(str(value))
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if self.kind is Kind.BOOLEAN and value in (0, 1):
            return self._truth(bool(value))
        if self.kind is Kind.NUMBER:
            return self._spelled(float(value)) if abs(value) <= LARGEST else None
        if self.digits is None:
            return str(value) if self.pointed or isinstance(value, int) else spelled(value)
        if self.digits < 0 or (isinstance(value, float) and not (value.is_integer() and abs(value) < EXACT)):
            # Zeros or digits are lost: the code is not known.
            return _JUNK
        return str(int(value)).zfill(self.digits)

    def _truth(self, value: bool) -> str:
        return (self.truths or ("False", "True"))[value]


_TRUTHS = ("false", "true")
_JUNK, _OUT_OF_RANGE = object(), object()


def _numbers(values: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Texts as numbers, if Arrow reads all of them that are not marks of missing values."""
    if not pa.types.is_string(values.type):
        return None
    given = pc.if_else(pc.is_in(values, value_set=_MARKS), None, values)
    try:
        found = given.cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    # Arrow reads more spellings of what is not a number than training does.
    return None if pc.any(pc.is_nan(found)).as_py() else found


def _no_date(text: str) -> bool:
    """Whether a text marks a missing date: databases write ``0000-00-00``."""
    return text in NUMERIC_NULLS or _NO_DATE.fullmatch(text) is not None


def _no_value(value: Any) -> Any:
    return _JUNK


def spelled(value: float) -> str:
    """The one spelling of a number that serves as a name."""
    return str(int(value)) if value.is_integer() and abs(value) < EXACT else repr(value)


def decide(
    name: str,
    values: pa.ChunkedArray,
    role: str = "auto",
    warn: Callable[[str], None] = lambda note: None,
    odd: float = ODD,
) -> Codec:
    """Decide how a column is read.

    :param name: the column.
    :param values: all of its values that training sees.
    :param role: what the feature specification calls it.
    :param warn: gets sentences that a person should know about the column.
    :param odd: see :data:`ODD`; without a role only.
    :raises Unusable: the column is nested, binary or of another type that can't be learned from.
    """
    single = pa.types.is_float32(values.type)
    values = plain(values)
    kind = values.type
    if is_text(kind):
        texts = {trimmed(text) for text in distinct(values)[0] if text is not None} - NULLS
        codec = _of_texts(name, texts, role, warn, odd if role == "auto" else 0)
    elif pa.types.is_boolean(kind):
        codec = Codec(name, Kind.BOOLEAN, truths=("False", "True"))
    elif pa.types.is_timestamp(kind):
        codec = Codec(name, Kind.MOMENT)
    elif pa.types.is_integer(kind) and _exceeds(values):
        codec = Codec(name, Kind.TEXT, digits=0)
    else:
        codec = Codec(name, Kind.NUMBER, single=single)
    if role == "auto":
        return dataclasses.replace(codec, odd=codec.odd or values.null_count == len(values))
    if role == IDENTIFIER:
        digits = 0 if codec.kind is Kind.NUMBER and _whole(values) else codec.digits
        return dataclasses.replace(codec, role=role, kind=Kind.TEXT, digits=digits)
    wanted = {"numeric": Kind.NUMBER, "datetime": Kind.MOMENT}.get(role)
    return dataclasses.replace(codec, role=role, kind=wanted or codec.kind, spelled=wanted is None)


def _whole(values: pa.ChunkedArray) -> bool:
    if is_text(values.type):
        return all(text is None or trimmed(text).isdigit() for text in distinct(values)[0])
    numbers = values.cast(pa.float64(), safe=False).drop_null()
    return bool(pc.all(pc.equal(pc.floor(numbers), numbers)).as_py())


def _exceeds(values: pa.ChunkedArray) -> bool:
    bounds = pc.min_max(values)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    return low is not None and (high >= EXACT or low <= -EXACT)


def _of_texts(name: str, texts: Collection[str], role: str, warn: Callable[[str], None], odd: float) -> Codec:
    truths = {text.lower(): text for text in sorted(texts) if text.lower() in _TRUTHS}
    spelling = (truths.get("false", "False"), truths.get("true", "True")) if truths else None
    filled = [text for text in texts if text not in NUMERIC_NULLS and not _INFINITE.fullmatch(text)]
    if not filled and not (texts and NUMERIC_NULLS.issuperset(texts)):
        return Codec(name, Kind.NUMBER, odd=True)
    words = set(islice((text for text in filled if not _NUMBER.fullmatch(text)), int(odd * len(filled)) + 1))
    # With a digit in it, a word may be a code among codes, such as V57.
    if filled and len(words) <= odd * len(filled) and not any(map(_DIGIT.search, words)):
        numbers = [text for text in filled if text not in words]
        codes = [text for text in numbers if _is_code(text)]
        # A fraction is a number: 007 beside it is one, too; but 01.10 is a code of its own.
        if not codes or (all(map(_SHORT_CODE.fullmatch, codes)) and any(map(_FRACTION.fullmatch, numbers))):
            return Codec(name, Kind.NUMBER, odd=bool(words))
        if not words:
            return Codec(name, Kind.TEXT, digits=_digits(filled))
    if role == "datetime":
        return Codec(name, Kind.MOMENT, order=moments.most_readable(filled))
    # Infinity is a number out of range, not a date.
    dates = [text for text in texts if not _no_date(text)]
    if dates and (found := moments.usual_order(dates, odd)) is not None:
        order, some = found
        read = [text for text in dates if moments.parse(text, order) is not None] if some else dates
        if order != "ymd" and moments.ambiguous(read):
            first = "month" if order == "mdy" else "day"
            warn(f"The dates of '{name}' fit with the day and with the month first; the {first} is taken to be first.")
        return Codec(name, Kind.MOMENT, order=order, odd=some)
    filled = [text for text in texts if text not in NUMERIC_NULLS]
    if texts and {text.lower() for text in texts} <= set(_TRUTHS):
        return Codec(name, Kind.BOOLEAN, truths=spelling)
    _tell_about_words(name, filled, role, warn)
    return Codec(name, Kind.TEXT, truths=spelling, pointed=any(map(POINT_ZERO.fullmatch, texts)))


def _digits(codes: Collection[str]) -> int:
    if not any(map(_LEADING_ZERO.match, codes)) and all(text.lstrip("-").isdigit() for text in codes):
        return 0
    lengths = {len(text) if text.isdigit() else 0 for text in codes}
    return lengths.pop() if len(lengths) == 1 and 0 not in lengths else -1


def _is_code(text: str) -> bool:
    """Numbers don't start with a zero that is followed by a digit, and a float would lose digits of long ones."""
    if _LEADING_ZERO.match(text):
        return True
    return len(text) > 15 and text.lstrip("+-" + _MINUS).isdigit() and abs(float(text.replace(_MINUS, "-"))) >= EXACT


def _tell_about_words(name: str, filled: Sequence[str], role: str, warn: Callable[[str], None]) -> None:
    words = [text for text in filled[:10_000] if not _NUMBER.fullmatch(text)]
    if role == "auto" and len(words) * 20 < len(filled[:10_000]):
        shown = ", ".join(f"'{text[:60]}'" for text in sorted(words)[:3])
        warn(f"Nearly all values of '{name}' are numbers, but {shown} is not: the column is read as text.")
    elif words and role == "auto" and all(map(_FORMATTED.fullmatch, filled[:1000])):
        warn(
            f"The values of '{name}' look like numbers with separators or units, such as '{words[0][:60]}': the column "
            "is read as text. Write plain numbers, with a decimal point."
        )


def unite(parts: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    """One column of the columns of several files or channels; where their types differ, the one that holds all values.

    :param parts: the columns.
    :raises Unusable: one of several types can't be learned from.
    """
    if len({part.type for part in parts}) == 1:
        return pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)
    known = [plain(part) for part in parts]
    kinds = {part.type for part in known if part.null_count < len(part)}
    if len(kinds) <= 1:
        wanted = kinds.pop() if kinds else pa.float64()
    elif all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds):
        wanted = pa.float64() if any(map(pa.types.is_floating, kinds)) else pa.int64()
    else:
        wanted = pa.string()
    cast = [_cast(part, wanted) for part in known]
    return pa.chunked_array([chunk for part in cast for chunk in part.chunks], wanted)


def _cast(part: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    if part.type == wanted:
        return part
    if part.null_count == len(part):
        return pa.chunked_array([pa.nulls(len(part), wanted)])
    if pa.types.is_string(wanted):
        spell = Codec("", Kind.TEXT)
        return pa.chunked_array([pa.array([None if v is None else spell._spell(v) for v in part.to_pylist()], wanted)])
    return part.cast(wanted, safe=False)
