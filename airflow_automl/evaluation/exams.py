"""How models of each problem type are asked about labelled data, and how their answers are measured."""

from __future__ import annotations

import csv
import io
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, NamedTuple

from airflow_automl.contract.files import json_or_literal
from airflow_automl.contract.rouge import rouge
from airflow_automl.evaluation.data import LabelledData, draw
from airflow_automl.evaluation.subject import Subject
from airflow_automl.scoring import class_metrics, confusion_matrix, label_of, number_metrics

#: An endpoint accepts 6 MB and 60 s per call.
BYTES_PER_CALL, _ROWS_PER_CALL = 1_000_000, 2_000
_IMAGES = (".png", ".jpg", ".jpeg")


class Question(NamedTuple):
    """A request to the model.

    :param body: of the request.
    :param truth: the known answer to each question, as JSON values.
    """

    body: bytes
    truth: list[Any]


class Exam(ABC):
    """A problem type's way of asking and measuring.

    :param subject: what the model predicts.
    :param keys: what the model answers for each row (``SAGEMAKER_INFERENCE_OUTPUT``).
    """

    content_type: ClassVar[str] = "text/csv"
    accept: ClassVar[str] = "text/csv"
    #: How many rows, images, series or texts are drawn by default.
    most: ClassVar[int] = 5000
    unit: ClassVar[str] = "rows"
    #: The metric to decide by if the job's objective can't be measured here.
    fallback: str

    def __init__(self, subject: Subject, keys: Sequence[str]) -> None:
        self.subject, self.keys = subject, keys

    @abstractmethod
    def questions(self, data: LabelledData, most: int) -> Iterator[Question]:
        """Yield requests about a sample of the data."""

    @abstractmethod
    def units(self, answer: bytes, truth: Sequence[Any]) -> list[Any]:
        """Return what is measured: an element for each question.

        :raises ValueError: the answer can't be read.
        """

    @abstractmethod
    def measure(self, units: Sequence[Any]) -> dict[str, float]:
        """Return the metrics of some units."""

    def confusion(self, units: Sequence[Any]) -> dict[str, Any] | None:
        return None


class _Predictions(Exam):
    labels: Sequence[str] = ()

    def __init__(self, subject: Subject, keys: Sequence[str]) -> None:
        super().__init__(subject, keys)
        self.fallback = "RMSE" if subject.is_regression else "Accuracy"
        self._seen: set[str] = set()

    def units(self, answer: bytes, truth: Sequence[Any]) -> list[Any]:
        rows = [row for row in csv.reader(io.StringIO(answer.decode())) if row]
        if len(rows) != len(truth) or any(len(row) != len(self.keys) for row in rows):
            raise ValueError(
                f"answered {len(truth)} rows with {len(rows)} lines of {len(rows[0]) if rows else 0} values; "
                f"expected {', '.join(self.keys)} for each"
            )
        place = {key: self.keys.index(key) for key in self.keys}
        said = [row[place["predicted_label"]] for row in rows]
        if self.subject.is_regression:
            return [(_number(real), _number(guess)) for real, guess in zip(truth, said, strict=True)]
        likely: list[list[float] | None] = [None] * len(rows)
        if {"probabilities", "labels"} <= place.keys():
            self.labels = [label_of(str(name)) for name in _list(rows[0][place["labels"]])]
            likely = [[float(each) for each in _list(row[place["probabilities"]])] for row in rows]
        pairs = [(label_of(real), label_of(guess)) for real, guess in zip(truth, said, strict=True)]
        # Every draw of the bootstrap has all classes, also those of which it has no row.
        self._seen.update(*pairs)
        return [(*pair, each) for pair, each in zip(pairs, likely, strict=True)]

    def measure(self, units: Sequence[Any]) -> dict[str, float]:
        if self.subject.is_regression:
            return number_metrics([real for real, _ in units], [guess for _, guess in units])
        likely = None if any(each is None for *_, each in units) else [each for *_, each in units]
        binary = {"BinaryClassification": True, "MulticlassClassification": False}.get(self.subject.problem_type or "")
        real, guess = [each[0] for each in units], [each[1] for each in units]
        return class_metrics(real, guess, likely, self.labels or sorted(self._seen), binary)

    def confusion(self, units: Sequence[Any]) -> dict[str, Any] | None:
        if self.subject.is_regression:
            return None
        return confusion_matrix([each[0] for each in units], [each[1] for each in units])


class TableExam(_Predictions):
    """Rows of CSV without a header: the columns in the data's order, without target and weight; of texts, the text."""

    def questions(self, data: LabelledData, most: int) -> Iterator[Question]:
        buffer, truth = io.StringIO(), list[str]()
        for real, row in draw(self._rows(data), most, data.seed):
            csv.writer(buffer, lineterminator="\n").writerow(row)
            truth.append(real)
            if len(truth) >= _ROWS_PER_CALL or buffer.tell() >= BYTES_PER_CALL:
                yield Question(buffer.getvalue().encode(), truth)
                buffer, truth = io.StringIO(), []
        if truth:
            yield Question(buffer.getvalue().encode(), truth)

    def _rows(self, data: LabelledData) -> Iterator[tuple[str, list[str]]]:
        target, weight, content = self.subject.target, self.subject.weight, self.subject.content
        known: list[str] | None = None
        for address, header, row in data.rows():
            if header is not known:
                for name in (each for each in (target, content) if each not in header and each is not None):
                    raise data.wrong(f"{address} has no column {name!r}; it has: {', '.join(header[:20]) or 'none'}")
                known, place = header, header.index(str(target))
                seen = [
                    index
                    for index, name in enumerate(header)
                    if (name == content if content else name not in (target, weight))
                ]
            if row[place].strip():
                yield row[place], [row[index] for index in seen]


class ImageExam(_Predictions):
    """One image a request. The label is the folder below the prefix, or what an augmented manifest says."""

    content_type = "application/x-image"
    most, unit = 500, "images"

    def questions(self, data: LabelledData, most: int) -> Iterator[Question]:
        for label, address in draw(self._images(data), most, data.seed):
            yield Question(data.storage.read(address), [label])

    def _images(self, data: LabelledData) -> Iterator[tuple[str, str]]:
        files = list(data.files())
        if len(files) == 1 and not files[0].lower().endswith(_IMAGES):
            for entry in data.entries(files[0]):
                named = (value for key, value in entry.items() if key.endswith("-metadata"))
                for label in (each["class-name"] for each in named if "class-name" in each):
                    if "source-ref" not in entry:
                        raise data.wrong(f"an entry of {files[0]} has a class-name, but no source-ref")
                    yield label, entry["source-ref"]
            return
        root = data.address.rstrip("/")
        for address in files:
            folders = address.removeprefix(f"{root}/").split("/")
            if address.lower().endswith(_IMAGES) and len(folders) > 1:
                yield folders[0], address


class TextExam(Exam):
    """One prompt a request; the generated texts are compared with the expected ones by ROUGE."""

    content_type = accept = "application/json"
    most, unit, fallback = 50, "texts", "RougeL"
    #: As many as the trainer generates for its own evaluation.
    tokens = 256

    def questions(self, data: LabelledData, most: int) -> Iterator[Question]:
        for prompt, expected in draw(self._pairs(data), most, data.seed):
            request = {"inputs": prompt, "parameters": {"max_new_tokens": self.tokens}}
            yield Question(json.dumps(request).encode(), [expected])

    def _pairs(self, data: LabelledData) -> Iterator[tuple[str, str]]:
        for address, header, row in data.rows():
            if missing := [name for name in ("input", "output") if name not in header]:
                raise data.wrong(f"{address} has no column {missing[0]!r}; it has: {', '.join(header[:20])}")
            if all(pair := (row[header.index("input")], row[header.index("output")])):
                yield pair

    def units(self, answer: bytes, truth: Sequence[Any]) -> list[Any]:
        said: Any = json.loads(answer)
        while isinstance(said, list) and said:
            said = said[0]
        if not isinstance(said, dict) or not isinstance(said.get("generated_text"), str):
            raise ValueError(f"answered {answer[:60]!r} where generated_text was expected")  # noqa: TRY004
        return [rouge(truth[0], said["generated_text"])]

    def measure(self, units: Sequence[Any]) -> dict[str, float]:
        return {name: math.fsum(each[name] for each in units) / len(units) for name in units[0]}


def _number(text: str) -> float:
    with suppress(ValueError):
        if math.isfinite(number := float(text)):
            return number
    raise ValueError(f"{text[:60]!r} is not a number, but the metric is one of a regression")


def _list(text: str) -> list[Any]:
    with suppress(ValueError):
        if isinstance(value := json_or_literal(text), list):
            return value
    raise ValueError(f"answered {text[:60]!r}; expected a list")


def exam_for(subject: Subject, keys: Iterable[str], environment: Mapping[str, str] | None = None) -> Exam:
    """Return the exam of a problem.

    :param keys: what the model answers, in this order.
    :param environment: of the container that answers.
    """
    from airflow_automl.evaluation.series import SeriesExam

    kinds: dict[str | None, type[Exam]] = {
        "ImageClassification": ImageExam,
        "TextGeneration": TextExam,
        "TimeSeriesForecasting": SeriesExam,
    }
    exam = kinds.get(subject.problem_type, TableExam)(subject, [*keys])
    total = (environment or {}).get("MAX_TOTAL_TOKENS", "")
    if isinstance(exam, TextExam) and total.isdecimal():
        # Prompt and answer share the model's context; the container refuses a request that may exceed it.
        exam.tokens = max(1, min(exam.tokens, int(total) // 2))
    return exam
