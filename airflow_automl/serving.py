"""What it takes to serve a candidate: its containers, the response keys, a fitting instance, names that can be derived.

Pure functions over the documents that XCom carries; nothing here calls AWS. Shared by deploying, scoring and
registering, so that the three build the same pipeline model of the same candidate.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_automl.exceptions import AutoMLValidationError, NoBestCandidate

#: What an Autopilot classification container can answer with (``SAGEMAKER_INFERENCE_SUPPORTED``).
RESPONSE_KEYS = ("predicted_label", "probability", "probabilities", "labels")

#: Problem type → content type of requests; ``text/csv`` for the others.
CONTENT_TYPES: Mapping[str | None, str] = {
    "TimeSeriesForecasting": "text/csv;header=present",
    "ImageClassification": "application/x-image",
    "TextGeneration": "application/json",
}

_NAME_LIMIT = 63
_DIGEST = 12
_ACCELERATED = re.compile(r"ml\.(p|g|inf|trn|dl)\d")
_LOCAL_DISK = re.compile(r"ml\.([a-z]+\d+[a-z]*d[a-z]*|g\d+[a-z]*|p[4-9][a-z]*|i\d+[a-z]*|trn\d+[a-z]*|dl\d+[a-z]*)\.")


def is_accelerated(instance_type: str) -> bool:
    """Return whether an instance type has a GPU or another accelerator."""
    return bool(_ACCELERATED.match(instance_type))


def encrypts_itself(instance_type: str) -> bool:
    """Return whether an instance type has local disks that are encrypted in hardware.

    CreateEndpointConfig and CreateTransformJob refuse a KMS key for these.
    """
    return bool(_LOCAL_DISK.match(instance_type))


def containers_of(candidate: Mapping[str, Any], *, accelerated: bool | None = None) -> list[dict[str, Any]]:
    """Return the containers that serve a candidate, as CreateModel takes them.

    ``InferenceContainers`` is taken if it is there, else ``InferenceContainerDefinitions`` (whatever the problem
    type: text generation answers with the latter, although the API page mentions images and text only).

    :param candidate: the candidate's document, in AWS's keys.
    :param accelerated: whether the containers will run on a GPU instance; ``None`` prefers the CPU ones.
    :return: one to three ``{"Image", "ModelDataUrl", "Environment"}``, in the order in which they are called.
    :raises NoBestCandidate: the candidate has no containers: it never finished training.
    """
    containers: Sequence[Mapping[str, Any]] = candidate.get("InferenceContainers") or ()
    if not containers:
        definitions: Mapping[str, Any] = candidate.get("InferenceContainerDefinitions") or {}
        first, second = ("GPU", "CPU") if accelerated else ("CPU", "GPU")
        containers = definitions.get(first) or definitions.get(second) or ()
    if not containers:
        raise NoBestCandidate(
            f"candidate {candidate.get('CandidateName', '(unnamed)')!r} is "
            f"{candidate.get('CandidateStatus', 'of no known status')} and has neither InferenceContainers nor "
            "InferenceContainerDefinitions: only a candidate whose training is Completed can serve"
        )
    return [
        {key: copy.deepcopy(container[key]) for key in ("Image", "ModelDataUrl", "Environment") if container.get(key)}
        for container in containers
    ]


def with_response_keys(containers: Sequence[Mapping[str, Any]], keys: Iterable[str]) -> list[dict[str, Any]]:
    """Ask the containers to answer with these keys.

    Each container lists what it can say in ``SAGEMAKER_INFERENCE_SUPPORTED``, gets what it shall say in
    ``SAGEMAKER_INFERENCE_OUTPUT``, and gets the outputs of the one before it in ``SAGEMAKER_INFERENCE_INPUT``. A
    container between two others never gets ``labels``: only the last one knows the labels' names.

    :param containers: from :func:`containers_of`.
    :param keys: of :data:`RESPONSE_KEYS`, in the order wanted in the answer; ``["all"]`` is all that the last container
        supports; empty leaves the containers' defaults.
    :raises AutoMLValidationError: a key that no container supports.
    """
    wanted = list(dict.fromkeys(keys))
    result = [copy.deepcopy(dict(container)) for container in containers]
    if wanted == ["all"]:
        last = _supported(result[-1])
        wanted = [key for key in RESPONSE_KEYS if key in last]
    if not wanted:
        return result
    said: list[str] = []
    reachable: set[str] = set()
    for position, container in enumerate(result):
        environment, supported = container.setdefault("Environment", {}), _supported(container)
        if 0 < position < len(result) - 1:
            supported.discard("labels")
        output = [key for key in wanted if key in supported]
        if supported and said:
            environment["SAGEMAKER_INFERENCE_INPUT"] = ",".join(said)
        if output:
            environment["SAGEMAKER_INFERENCE_OUTPUT"] = ",".join(output)
        said = output
        reachable |= supported
    missing = [key for key in wanted if key not in said]
    if missing:
        valid = (
            ", ".join(key for key in RESPONSE_KEYS if key in reachable)
            or "none (regression and forecasts answer values)"
        )
        raise AutoMLValidationError(
            "response", [f"response: {', '.join(missing)} is not supported by this candidate; it supports: {valid}"]
        )
    return result


def _supported(container: Mapping[str, Any]) -> set[str]:
    listed = (container.get("Environment") or {}).get("SAGEMAKER_INFERENCE_SUPPORTED", "")
    return {key.strip() for key in listed.split(",") if key.strip()}


def default_instance_type(candidate: Mapping[str, Any], problem_type: str | None) -> str:
    """Return the default instance type that can serve the candidate.

    What AWS recommends for fine-tuned language models, the smallest GPU instance for containers that exist for GPUs
    only, and otherwise the smallest instance that Autopilot's own deployments use.
    """
    if problem_type == "TextGeneration":
        return "ml.g5.12xlarge"
    definitions = candidate.get("InferenceContainerDefinitions") or {}
    if not candidate.get("InferenceContainers") and definitions.get("GPU") and not definitions.get("CPU"):
        return "ml.g4dn.xlarge"
    return "ml.m5.2xlarge"


def startup_timeouts(problem_type: str | None) -> dict[str, int]:
    """Return the production variant's time-outs (seconds) that a problem type needs beyond AWS's defaults."""
    if problem_type == "TextGeneration":
        return {"ModelDataDownloadTimeoutInSeconds": 3600, "ContainerStartupHealthCheckTimeoutInSeconds": 3600}
    return {}


def derived_stem(name: str) -> str:
    """Return the readable beginning of all names that :func:`derived_name` gives for one readable part."""
    room = _NAME_LIMIT - _DIGEST - 1
    if len(name) <= room:
        return name
    # Shortened names have a digest of the whole name, so that two long names do not share versions.
    return f"{name[: room - 7].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def derived_name(name: str, *parts: Any) -> str:
    """Derive a resource name (at most 63 characters) from what it belongs to and what it is made of.

    The same parts always give the same name, so a retry meets what an earlier try made instead of making it again;
    anything that differs (another candidate, another run, other settings) gives another name.

    :param name: readable part, such as the endpoint's name.
    :param parts: JSON-serializable parts that identify the resource.
    """
    content = json.dumps(parts, sort_keys=True, default=str)
    return f"{derived_stem(name)}-{hashlib.sha256(content.encode()).hexdigest()[:_DIGEST]}"


def derived_pattern(name: str) -> re.Pattern[str]:
    """Return the pattern of all names that :func:`derived_name` gives for one readable part, and of no others."""
    return re.compile(rf"{re.escape(derived_stem(name))}-[0-9a-f]{{{_DIGEST}}}")
