"""Rules of text classification and text generation."""

from __future__ import annotations

import re

from airflow_automl.contract.rules.registry import Finding, Findings, reject, warn
from airflow_automl.contract.rules.request import JobRequest, Node
from airflow_automl.contract.values import DEFAULT_BASE_MODEL, HYPERPARAMETERS
from airflow_automl.contract.wording import show

_INTEGER = re.compile(r"-?[0-9]{1,16}")
_DECIMAL = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


@reject("R72")
def content_is_not_label(job: JobRequest) -> Findings:
    """The text to classify and its label are two columns."""
    if job.problem != "TextClassification":
        return
    content, label = job.config.text("ContentColumn"), job.config.text("TargetLabelColumn")
    if content is not None and content == label:
        yield Finding(
            job.config.at("ContentColumn"),
            f"received {show(content)}, which is TargetLabelColumn too; name the column that holds the sentences",
        )


@reject("R87")
def known_hyperparameters(job: JobRequest) -> Findings:
    """Four hyperparameters can be set, for all base models."""
    hyperparameters = _hyperparameters(job)
    for name in hyperparameters.body:
        if isinstance(name, str) and name not in HYPERPARAMETERS:
            yield Finding(
                hyperparameters.at(name),
                f"is not a hyperparameter of text generation; valid: {', '.join(HYPERPARAMETERS)}",
            )


@reject("R88")
def hyperparameters_in_range(job: JobRequest) -> Findings:
    """Hyperparameters are numbers in strings, within their ranges."""
    hyperparameters = _hyperparameters(job)
    for name, (lowest, highest, integer) in HYPERPARAMETERS.items():
        received = hyperparameters.text(name)
        if received is None:
            continue
        form = _INTEGER if integer else _DECIMAL
        if not form.fullmatch(received) or not lowest <= float(received) <= highest:
            kind = "an integer" if integer else "a number"
            yield Finding(
                hyperparameters.at(name),
                f"received {show(received)}; must be {kind} from {lowest:g} to {highest:g}, written as a string",
            )


@warn("R90")
def eula_accepted(job: JobRequest) -> Findings:
    """Models with an end-user licence agreement are trained only if it is accepted."""
    if job.problem != "TextGeneration":
        return
    access = job.config.node("ModelAccessConfig")
    model = job.config.text("BaseModelName")
    refused = access.get("AcceptEula") is False
    silent = not job.config.has("ModelAccessConfig") and model not in (None, DEFAULT_BASE_MODEL)
    if refused or silent:
        received = "received false" if refused else "is not given"
        yield Finding(
            access.at("AcceptEula"),
            f"{received}; if {model or DEFAULT_BASE_MODEL} has an end-user licence agreement, the job fails "
            "unless this is true",
        )


def _hyperparameters(job: JobRequest) -> Node:
    return job.config.node("TextGenerationHyperParameters" if job.problem == "TextGeneration" else "-")
