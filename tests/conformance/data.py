"""Generates and uploads a small data set for each problem type."""

from __future__ import annotations

import csv
import io
import struct
import zlib
from collections.abc import Iterable
from datetime import date, timedelta
from random import Random
from typing import Any


def upload(s3: Any, bucket: str, prefix: str) -> dict[str, str]:
    """Upload all data sets.

    :return: kind → S3 URI, and ``root``, the folder of the run.
    """
    root = f"s3://{bucket}/{prefix}/"
    objects = {
        "tabular/train.csv": _tabular(),
        "series/train.csv": _series(),
        "text/train.csv": _text(),
        "generation/train.csv": _generation(),
        **{f"images/{label}/{number}.png": _png(label, number) for label in ("dark", "light") for number in range(5)},
    }
    for key, body in objects.items():
        s3.put_object(Bucket=bucket, Key=f"{prefix}/{key}", Body=body)
    kinds = ("tabular", "series", "text", "generation", "images")
    return {"root": root, **{kind: f"{root}{kind}/" for kind in kinds}}


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _tabular(rows: int = 600) -> bytes:
    random = Random(1)
    table: list[list[Any]] = [["age", "plan", "usage", "churn"]]
    for _ in range(rows):
        age, usage = random.randint(18, 80), round(random.gauss(50, 20), 2)
        plan = random.choice(["basic", "plus", "pro"])
        leaves = usage < 45 or (plan == "basic" and random.random() < 0.4)
        table.append([age, plan, usage, "yes" if leaves else "no"])
    return _csv(table)


def _series(items: int = 3, days: int = 120) -> bytes:
    random = Random(2)
    start = date(2025, 1, 1)
    table: list[list[Any]] = [["item", "day", "demand"]]
    for item in range(items):
        for day in range(days):
            demand = 20 + 5 * item + 4 * (day % 7) + random.random()
            table.append([f"item-{item}", f"{start + timedelta(days=day)} 00:00:00", round(demand, 2)])
    return _csv(table)


def _text(rows: int = 600) -> bytes:
    random = Random(3)
    words = {"good": ["great", "lovely", "fine"], "bad": ["awful", "poor", "dull"]}
    table = [["review", "mood"]]
    for _ in range(rows):
        mood = random.choice(list(words))
        table.append([f"a {random.choice(words[mood])} thing, number {random.randint(1, 999)}", mood])
    return _csv(table)


def _generation(rows: int = 100) -> bytes:
    return _csv([["input", "output"], *([f"What is {n} and {n}?", f"{n} and {n} is {2 * n}."] for n in range(rows))])


def _png(label: str, number: int, size: int = 16) -> bytes:
    """A grey square, dark or light."""
    grey = (40 if label == "dark" else 200) + number
    pixels = b"".join(b"\x00" + bytes([grey]) * size for _ in range(size))

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
