"""What the benchmarks of text and image classification share: what is measured of a set, and the tables."""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _jobs
from _results import FOLDER, Results, Row, apart, interval, script, write_page

SECONDS = 1800
"""A set that needs longer has failed."""

CANDIDATES = ("tfidf", "minilm", "efficientnet-lite0", "cnn", "blend")

Samples = Sequence[tuple[str, Any]]
"""Labels and texts, or labels and pixels."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of several sets.

    :param script: its file.
    :param sets: name → seed → samples to train on, and others to measure on.
    :param problem: the AutoMLProblemTypeConfig.
    :param files: samples → key → content of the training channel.
    :param predict: model of a candidate, samples → labels.
    :param library: name of what else is trained.
    :param fit: trains that; returns what predicts.
    """

    script: str
    sets: Mapping[str, Callable[[int], tuple[Samples, Samples]]]
    problem: Mapping[str, Any]
    files: Callable[[Samples], Mapping[str, bytes]]
    predict: Callable[[Any, Samples], Sequence[str]]
    library: str
    fit: Callable[[Samples], Callable[[Samples], Sequence[str]]]

    def main(self, description: str | None) -> int:
        """Measure what is not in the results yet, or write the tables of what is there."""
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--sets", nargs="*", choices=list(self.sets), default=list(self.sets))
        parser.add_argument("--seeds", type=int, default=3)
        parser.add_argument("--threads", type=int, default=1)
        name = Path(self.script).stem
        parser.add_argument("--results", type=Path, default=FOLDER / f"{name}.jsonl")
        parser.add_argument("--docs", type=Path, help="a page, whose table is made again from the results")
        parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
        options = parser.parse_args()
        if options.one:
            print(json.dumps(self._measure(options.one[0], int(options.one[1]), options.threads)))
            return 0
        results = Results(options.results, ("data", "seed"))
        if options.docs:
            write_page(options.docs, self.script, self.table(results.rows))
            return 0
        for seed in range(options.seeds):
            for name in options.sets:
                unit = {"data": name, "seed": seed}
                if results.get(unit) is None:
                    command = script(self.script, "--threads", options.threads, "--one", name, seed)
                    results.add(unit | apart(command, options.threads, SECONDS))
        return 0

    def _measure(self, name: str, seed: int, threads: int) -> Row:
        train, test = self.sets[name](seed)
        counts = Counter(label for label, _ in train)
        common = counts.most_common(1)[0][0]
        return {
            "train": len(train),
            "test": len(test),
            "classes": len(counts),
            "guess": _accuracy([common] * len(test), test),
            "library": _accuracy(self.fit(train)(test), test),
            **self._job(train, test, threads),
        }

    def _job(self, train: Samples, test: Samples, threads: int) -> Row:
        """Run a job as the service does, and measure all of its candidates on samples that it has not seen."""
        import boto3

        from airflow_automl.contract.metrics import best
        from airflow_automl.local.models import artifacts
        from airflow_automl.local.training.engines.classification.engine import TIE_BREAK

        with tempfile.TemporaryDirectory() as temporary, _jobs.store() as environment:
            os.environ |= environment
            s3, folder = boto3.client("s3"), Path(temporary)
            s3.create_bucket(Bucket=_jobs.BUCKET)
            for key, content in self.files(train).items():
                s3.put_object(Bucket=_jobs.BUCKET, Key=f"in/{key}", Body=content)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{_jobs.BUCKET}/in/"}}
            request = {"AutoMLJobInputDataConfig": [{"DataSource": source}], "AutoMLProblemTypeConfig": self.problem}
            candidates = _jobs.candidates_of(_jobs.train(folder / "job", request, threads))
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            chosen, found, sizes = best(candidates, then=TIE_BREAK), {}, {}
            for candidate in candidates:
                (container,) = candidate["InferenceContainerDefinitions"]["CPU"]
                archive = folder / "model.tar.gz"
                key = container["ModelDataUrl"].removeprefix(f"s3://{_jobs.BUCKET}/")
                s3.download_file(_jobs.BUCKET, key, str(archive))
                accuracy = _accuracy(self.predict(artifacts.load(archive), test), test)
                name = artifacts.describe(archive)["approach"]
                found[name] = [accuracy, round(candidate["FinalAutoMLJobObjectiveMetric"]["Value"], 4)]
                sizes[name] = archive.stat().st_size
                if candidate is chosen:
                    winner = name
        return {
            "job": found[winner][0],
            "chosen": winner,
            "candidates": found,
            "cpu": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
            "memory": round(after.ru_maxrss / 1024),
            "size": round(sizes[winner] / 1e6, 1),
        }

    def table(self, rows: Sequence[Row]) -> str:
        """Return the table: means over the seeds."""
        names = [name for name in CANDIDATES if any(name in row.get("candidates", ()) for row in rows)]
        head = [
            "data",
            "n",
            "most frequent class",
            self.library,
            *names,
            "the job",
            "job less the better of two",
            "CPU s",
        ]
        head += ["peak MB", "artefact MB", "failed"]
        lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
        for data in self.sets:
            all_rows = [row for row in rows if row["data"] == data]
            good = [row for row in all_rows if "failed" not in row]
            if good:
                lines.append(self._line(data, good, len(all_rows) - len(good), names))
        return "\n".join(lines) + "\n"

    def _line(self, data: str, rows: Sequence[Row], failed: int, names: Sequence[str]) -> str:
        one = rows[0]
        cells = [f"{data}: {one['train']} + {one['test']}, {one['classes']} classes", str(len(rows))]
        cells += [_shown([row[column] for row in rows]) for column in ("guess", "library")]
        for name in names:
            measured = [row["candidates"][name][0] for row in rows if name in row["candidates"]]
            times = f" ({len(measured)} of {len(rows)})" if 0 < len(measured) < len(rows) else ""
            cells.append((_shown(measured) if measured else "-") + times)
        cells.append(_shown([row["job"] for row in rows]))
        alone = [max(v[0] for name, v in row["candidates"].items() if name != "blend") for row in rows]
        cells.append(_shown([row["job"] - better for row, better in zip(rows, alone, strict=True)], signed=True))
        cells += [
            f"{sum(row['cpu'] for row in rows) / len(rows):.0f}",
            f"{max(row['memory'] for row in rows)}",
            f"{max(row['size'] for row in rows)}",
        ]
        cells.append(str(failed))
        return "| " + " | ".join(cells) + " |"


def _accuracy(predicted: Sequence[str], samples: Samples) -> float:
    right = sum(str(a) == b for a, (b, _) in zip(predicted, samples, strict=True))
    return round(right / len(samples), 4)


def _shown(values: Sequence[float], signed: bool = False) -> str:
    """Return the mean and half of its 95 % interval."""
    mean, half = interval(values)
    return f"{mean:{'+' if signed else ''}.3f}" + (f" ± {half:.3f}" if len(values) > 1 else "")
