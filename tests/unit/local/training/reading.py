"""Rows of a training file, sent again in every way in which a model can get them."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.models import artifacts, host
from airflow_automl.local.models.artifacts import Predictor
from airflow_automl.local.models.payloads import PayloadError
from airflow_automl.local.models.wire import Payload
from airflow_automl.local.serving.transform.records import Processing, batches, begin, blocks
from airflow_automl.local.storage.client import parse_uri
from airflow_automl.local.training.data import channels, csv_text, dataset
from airflow_automl.local.training.data.codec import NULLS, NUMERIC_NULLS, Codec, Kind
from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.data.store import S3Object
from airflow_automl.local.training.engines.classification.approach import Samples
from airflow_automl.local.training.engines.text import engine as text_engine
from tests.local_s3 import BUCKET, Bucket

__all__ = [
    "MARKS",
    "JobFailure",
    "Served",
    "carriers",
    "channel",
    "check",
    "load",
    "load_stage",
    "load_texts",
    "loaded",
    "remember",
    "rows_of",
    "written",
]

Row = Sequence[str]
MARKS = NULLS | NUMERIC_NULLS


class Memory:
    """Objects in memory, where a test reads too many files for a real S3: a part of :class:`Bucket`."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.store: Any = self
        self.client: Any = self

    def put(self, key: str, body: Any) -> str:
        self.files[key] = body.encode() if isinstance(body, str) else body
        return f"s3://{BUCKET}/{key}"

    def keys(self, prefix: str = "") -> list[str]:
        return [key for key in self.files if key.startswith(prefix)]

    def delete_object(self, Bucket: str, Key: str) -> None:  # noqa: N803 - boto3's names
        del self.files[Key]

    def objects(self, uri: str) -> Iterator[S3Object]:
        for key in sorted(self.keys(parse_uri(uri).key)):
            yield S3Object(BUCKET, key, len(self.files[key]))

    def download(self, source: S3Object, path: Path) -> None:
        path.write_bytes(self.files[source.key])

    def read_json(self, uri: str, what: str) -> Any:
        return json.loads(self.files[parse_uri(uri).key])


def remember(frame: pd.DataFrame) -> dict[str, Any]:
    """The scripted learner: its prediction is a number that only the very same row has."""
    rows = frame.astype(object).where(frame.notna(), None).itertuples(index=False, name=None)
    return {"predicted_label": [float(zlib.crc32(repr(row).encode())) for row in rows]}


def load_stage(folder: Path, metadata: Mapping[str, Any], environment: Mapping[str, str], threads: int) -> Any:
    """The scripted learner from its artefact."""
    return remember


artifacts._LOADERS["remembered"] = __name__


def loaded(metadata: Mapping[str, Any]) -> Any:
    """A model from an artefact that has nothing but this metadata."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tar.gz"
        artifacts.pack(Path(folder) / "nothing", metadata, path)
        return artifacts.load(path)


def channel(uri: str, kind: str = "training", **more: Any) -> dict[str, Any]:
    """An entry of AutoMLJobInputDataConfig."""
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}
    return {"DataSource": source, "ChannelType": kind, **more}


def load(
    bucket: Bucket | Memory,
    folder: Path,
    files: Mapping[str, bytes],
    mode: str = "ENSEMBLING",
    target: str = "y",
    types: Mapping[str, str] | None = None,
    features: Sequence[str] | None = None,
    validation: bytes | None = None,
    **config: Any,
) -> TabularDataset:
    """Read files as a job in a mode does."""
    for name, body in files.items():
        bucket.put(f"in/{name}", body)
    inputs = [channel(f"s3://{BUCKET}/in/", **config.pop("channel", {}))]
    if validation is not None:
        inputs.append(channel(bucket.put("validation/rows.csv", validation), "validation"))
    if types is not None or features is not None:
        document: dict[str, Any] = {"FeatureDataTypes": dict(types or {})}
        if features is not None:
            document["FeatureAttributeNames"] = list(features)
        config["FeatureSpecificationS3Uri"] = bucket.put("specification.json", json.dumps(document))
    request = {
        "AutoMLJobInputDataConfig": inputs,
        "AutoMLProblemTypeConfig": {"TabularJobConfig": {"TargetAttributeName": target, **config}},
    }
    try:
        return dataset.load(bucket.store, channels.resolve(bucket.store, inputs), request, mode, folder / "download")
    finally:
        for key in bucket.keys("in/"):
            bucket.client.delete_object(Bucket=BUCKET, Key=key)


def load_texts(
    bucket: Bucket | Memory, folder: Path, files: Mapping[str, bytes], validation: bytes | None = None, **config: Any
) -> Samples:
    """Read files as a text classification does."""
    for name, body in files.items():
        bucket.put(f"in/{name}", body)
    inputs = [channel(f"s3://{BUCKET}/in/")]
    if validation is not None:
        inputs.append(channel(bucket.put("validation/rows.csv", validation), "validation"))
    config = {"ContentColumn": "text", "TargetLabelColumn": "label", **config}
    request = {
        "AutoMLJobInputDataConfig": inputs,
        "AutoMLProblemTypeConfig": {"TextClassificationJobConfig": config},
    }
    try:
        return text_engine.load(bucket.store, request, folder / "download")
    finally:
        for key in bucket.keys("in/"):
            bucket.client.delete_object(Bucket=BUCKET, Key=key)


class Served:
    """A model of some data, with its artefact alone."""

    def __init__(self, data: TabularDataset) -> None:
        rows = [frame[data.columns] for frame in (data.train, data.validation)]
        self._learn(data.features, data.target, data.escaped, rows)

    @classmethod
    def of_texts(cls, samples: Samples, content: str = "text", label: str = "label") -> Served:
        """A model of texts."""
        served = cls.__new__(cls)
        rows = [pd.DataFrame({content: list(texts)}) for texts in (samples.train, samples.validation)]
        served._learn([Codec(content, Kind.TEXT)], label, samples.escaped, rows)
        return served

    def _learn(self, features: Sequence[Codec], target: str, escaped: bool, rows: Sequence[pd.DataFrame]) -> None:
        metadata = {
            "features": [feature.as_json() for feature in features],
            "problem_type": "Regression",
            "labels": [],
            "target": target,
            "escaped": escaped,
        }
        self._host(loaded(metadata | {"engine": "remembered"}), "predicted_label")
        self.expected = sorted(value for frame in rows for value in remember(frame)["predicted_label"])

    @classmethod
    def of(cls, predictor: Predictor, key: str) -> Served:
        """A model that is there already, and the number that it answers."""
        served = cls.__new__(cls)
        served._host(predictor, key)
        return served

    def _host(self, predictor: Predictor, key: str) -> None:
        self.predictor, self.names = predictor, predictor.columns
        self._key = key
        self._tables = host.Tables(predictor, (key,))

    def load(self, frame: pd.DataFrame) -> list[float]:
        """The predictions of the loader."""
        return list(self.predictor.answer(frame)[self._key])

    def invoke(self, body: bytes | str, content_type: str = "text/csv") -> list[float]:
        """The predictions for a request's body."""
        body = body.encode() if isinstance(body, str) else body
        return [float(line) for line in self._answer(body, content_type).split()]

    def _answer(self, body: bytes, content_type: str) -> bytes:
        (found,) = self._tables.respond([Payload(body, content_type, "text/csv")])
        if isinstance(found, PayloadError):
            raise found
        return found[0]

    def transform(self, body: bytes, content_type: str = "text/csv", limit: int = 700) -> list[float]:
        """The predictions of a batch transform in many payloads."""
        processing = Processing.of(
            {"TransformInput": {"ContentType": content_type}, "TransformOutput": {}, "DataProcessing": {}}
        )
        if processing.csv:
            body = csv_text.body(body, None, self.predictor.metadata["escaped"])
        longest = max(len(line) for line in body.split(b"\n")) + 200
        # One time in blocks as they are, one time record by record.
        ways: list[list[float]] = []
        for fill in ((lambda: limit), None):
            top, cut = begin(blocks(io.BytesIO(body), processing, size=lambda: limit), self.names, processing)
            kind = processing.headers(top is not None)["content-type"]
            made = batches(cut, limit + longest, single=False, top=top, processing=processing, fill=fill)
            found = [self._answer(payload, kind) for _, payload in made]
            ways.append([float(line) for body in found for line in body.splitlines()])
        assert ways[0] == ways[1]
        return ways[0]


def rows_of(text: str) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a CSV file, as its writer meant them."""
    found = [row for row in csv.reader(io.StringIO(text, newline="")) if any(cell.strip() for cell in row)]
    return found[0], found[1:]


def written(rows: Sequence[Row], quoting: int = csv.QUOTE_MINIMAL) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    csv.writer(text, quoting=quoting, lineterminator="\n").writerows(rows)
    return text.getvalue()


def carriers(served: Served, header: Row, rows: Sequence[Row]) -> dict[str, Callable[[], list[float]]]:
    """Every way in which rows can come.

    :param served: the model.
    :param header: names of all columns of the file.
    :param rows: its rows that have a target.
    """
    plain = [name.strip() or f"Unnamed: {place}" for place, name in enumerate(header)]
    places = [plain.index(name) for name in served.names]
    given = [header[place] for place in places]
    cells = [[row[place] for place in places] for row in rows]
    other = [*reversed(given)]
    objects = [dict(zip(given, row, strict=True)) for row in cells]
    # A single column's header and one row would be ambiguous; there are always more rows.
    return {
        "CSV": lambda: served.invoke(written(cells)),
        "CSV, all quoted": lambda: served.invoke(written(cells, csv.QUOTE_ALL)),
        "CSV with the file's header": lambda: served.invoke(written([header, *rows])),
        "CSV with a header in another order": lambda: served.invoke(written([other, *(row[::-1] for row in cells)])),
        "JSON records": lambda: served.invoke(json.dumps(objects), "application/json"),
        "JSON lists": lambda: served.invoke(json.dumps({"instances": cells}), "application/json"),
        "JSON split": lambda: served.invoke(
            json.dumps({"columns": other, "data": [row[::-1] for row in cells]}), "application/json"
        ),
        "JSON lines": lambda: served.invoke(
            "".join(json.dumps(row) + "\n" for row in objects), "application/jsonlines"
        ),
        "transform": lambda: served.transform(written(cells).encode()),
        "transform with a header": lambda: served.transform(
            written([other, *(row[::-1] for row in cells)]).encode(), "text/csv;header=present"
        ),
        "transform with a header that is not announced": lambda: served.transform(written([header, *rows]).encode()),
        "transform of JSON lines": lambda: served.transform(
            "".join(json.dumps(row) + "\n" for row in objects).encode(), "application/jsonlines"
        ),
        "loader, texts": lambda: served.load(pd.DataFrame(cells, columns=given, dtype=object)),
        "loader, as pandas reads the file": lambda: served.load(
            pd.read_csv(io.StringIO(written([header, *rows]))).sample(frac=1, random_state=0).sort_index()
        ),
        "JSON, as pandas reads the file": lambda: served.invoke(_natural(header, rows), "application/json"),
    }


def _natural(header: Row, rows: Sequence[Row]) -> str:
    frame = pd.read_csv(io.StringIO(written([header, *rows])))
    plain = frame.astype(object).where(frame.notna(), None)
    return json.dumps({"columns": list(frame.columns), "data": plain.to_numpy().tolist()})


def check(served: Served, header: Row, rows: Sequence[Row], without: Sequence[str] = ()) -> None:
    """Fail unless the rows get the same predictions in whatever way they come, and those that training saw.

    :param without: words in the names of ways that lose what the file says before the model sees it.
    """
    found = {}
    for name, send in carriers(served, header, rows).items():
        if any(word in name for word in without):
            continue
        found[name] = send()
        assert len(found[name]) == len(rows), name
        assert sorted(found[name]) == served.expected, name
    first = next(iter(found.values()))
    for name, values in found.items():
        assert values == first, name
