"""Text and image classification: what the best candidate looks at, and samples with what it says about them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from airflow_automl.report import plots
from airflow_automl.report.sections import Card, Lister, Reader, finite, json_objects, numbers, table

_SAMPLES = 24
_TEXT = 500
_PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/]+={0,2}")
_PICTURE_LIMIT = 100_000


def read(candidate: Mapping[str, Any], list_objects: Lister, read_object: Reader) -> dict[str, Any]:
    """Read ``analysis.json`` and ``samples.json``; see :class:`airflow_automl.report.sections.Section`.

    :return: any of ``importance`` (part → mean change of the probability), ``method``, ``samples`` (each ``text`` or
        ``image``, ``actual``, ``predicted``, ``probability``) and ``notes``.
    """
    locations = (candidate.get("CandidateProperties") or {}).get("CandidateArtifactLocations") or {}
    found: dict[str, Any] = {}
    for content in json_objects(locations.get("Explainability"), "analysis.json", list_objects, read_object):
        occlusion = (content.get("explanations") or {}).get("occlusion") or {}
        importance = numbers(occlusion.get("global_importance"))
        if importance:
            found |= {"importance": importance, "method": str(content.get("method") or "")}
    for content in json_objects(locations.get("ModelInsights"), "samples.json", list_objects, read_object):
        samples = [sample for each in content.get("samples") or () if (sample := _sample(each))]
        found["samples"] = samples[:_SAMPLES]
        found["notes"] = [str(note) for note in content.get("notes") or ()]
    return found


def _sample(given: Any) -> dict[str, Any] | None:
    if not isinstance(given, Mapping):
        return None
    sample: dict[str, Any] = {key: str(given.get(key, "")) for key in ("actual", "predicted")}
    probability = given.get("probability")
    sample["probability"] = probability if finite(probability) else None
    image, text = given.get("image"), given.get("text")
    if isinstance(image, str) and len(image) <= _PICTURE_LIMIT and _PICTURE.fullmatch(image):
        return {"image": image, **sample}
    if isinstance(text, str):
        return {"text": text[:_TEXT], **sample}
    return None


def cards(found: Mapping[str, Any], report: Mapping[str, Any]) -> Sequence[Card]:
    shown = []
    if found.get("notes"):
        items = Markup("").join(Markup("<li>{}</li>").format(note) for note in found["notes"])
        shown.append(Card("About the data and the training", Markup("<ul>{}</ul>").format(items)))
    if found.get("importance"):
        body = plots.features(found["importance"])
        shown.append(Card("What influences the best candidate", body, str(found.get("method", ""))))
    samples = found.get("samples") or []
    if samples:
        body = _pictures(samples) if "image" in samples[0] else table(("Text", "Predicted"), _texts(samples), text=True)
        note = "Of the validation data; mistakes with the highest probability come first."
        shown.append(Card("Samples and predictions of the best candidate", body, note, wide=True))
    return shown


def _verdict(sample: Mapping[str, Any]) -> Markup:
    sure = "" if sample["probability"] is None else f" {sample['probability']:.0%}"
    if sample["actual"] == sample["predicted"]:
        return Markup('<b class="better">{}</b>{}').format(sample["predicted"], sure)
    return Markup('<b class="worse">{}</b>{} <small>is {}</small>').format(sample["predicted"], sure, sample["actual"])


def _pictures(samples: Sequence[Mapping[str, Any]]) -> Markup:
    figures = Markup("").join(
        Markup('<figure><img src="{}" alt="{}"><figcaption>{}</figcaption></figure>').format(
            sample["image"], sample["actual"], _verdict(sample)
        )
        for sample in samples
        if "image" in sample
    )
    return Markup('<div class="pictures">{}</div>').format(figures)


def _texts(samples: Sequence[Mapping[str, Any]]) -> list[tuple[str, Markup]]:
    return [(sample["text"], _verdict(sample)) for sample in samples if "text" in sample]
