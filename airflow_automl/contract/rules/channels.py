"""Rules of the input channels and the output."""

from __future__ import annotations

import re

from airflow_automl.contract.rules.registry import Finding, Findings, reject, warn
from airflow_automl.contract.rules.request import JobRequest
from airflow_automl.contract.values import CONTENT_TYPES, MAX_OUTPUT_PATH, MAX_OUTPUT_PATH_V1, PARQUET, S3_DATA_TYPES
from airflow_automl.contract.wording import alternatives, counted, show


@warn("R10")
def one_training_channel(job: JobRequest) -> Findings:
    """One training channel, and at most one validation channel."""
    types = [job.channel_type(channel) for channel in job.channels]
    if not types or not all(kind in ("training", "validation") for kind in types):
        return
    training, validation = types.count("training"), types.count("validation")
    if training != 1 or validation > 1:
        received = f"{counted(training, 'training channel')} and {counted(validation, 'validation channel')}"
        yield Finding(
            job.channels_path,
            f"received {received}; give one training channel and at most one validation channel",
        )


@reject("R11")
def same_content_type(job: JobRequest) -> Findings:
    """Training and validation channel share their ContentType, defaults filled in."""
    if job.pair is None:
        return
    first, second = (job.content_type(channel) for channel in job.pair)
    if first is None or second is None or first == second:
        return
    default = "" if job.pair[1].has("ContentType") else " (the default)"
    yield Finding(
        job.pair[1].at("ContentType"),
        f"received {show(second)}{default}, but the other channel has {show(first)}; "
        "training and validation channel must have the same content type",
    )


@reject("R12")
def same_target(job: JobRequest) -> Findings:
    """Training and validation channel of V1 share their TargetAttributeName, case sensitively."""
    if job.api != "V1" or job.pair is None:
        return
    first, second = (channel.text("TargetAttributeName") for channel in job.pair)
    if first is not None and second is not None and first != second:
        yield Finding(
            job.pair[1].at("TargetAttributeName"),
            f"received {show(second)}, but the other channel has {show(first)}; "
            "training and validation channel must name the same target column",
        )


@reject("R16")
def data_source_given(job: JobRequest) -> Findings:
    """Every channel has a DataSource, which newer models call optional."""
    for channel in job.channels:
        if channel.present and not channel.has("DataSource"):
            yield Finding(
                channel.at("DataSource"),
                "is required and missing; give {'S3DataSource': {'S3DataType': 'S3Prefix', 'S3Uri': 's3://…'}}",
            )


@reject("R17")
def data_type_of_problem(job: JobRequest) -> Findings:
    """S3DataType is one that the problem's data can have."""
    if job.api != "V2" or job.problem is None:
        return
    valid = S3_DATA_TYPES[job.problem]
    for _, source in job.sources:
        received = source.text("S3DataType")
        if received is not None and received not in valid:
            yield Finding(
                source.at("S3DataType"),
                f"received {show(received)}; {job.problem} data must be {alternatives(valid)}",
            )


@reject("R18")
def no_augmented_manifest_in_v1(job: JobRequest) -> Findings:
    """Augmented manifests are for CreateAutoMLJobV2."""
    if job.api != "V1":
        return
    for _, source in job.sources:
        if source.text("S3DataType") == "AugmentedManifestFile":
            yield Finding(
                source.at("S3DataType"),
                "received 'AugmentedManifestFile'; CreateAutoMLJob takes S3Prefix or ManifestFile: "
                "use CreateAutoMLJobV2 with ImageClassificationJobConfig for augmented manifests",
            )


@warn("R19")
def s3_prefix_form(job: JobRequest) -> Findings:
    """An S3 prefix has the form s3://bucket/folder-or-file."""
    for _, source in job.sources:
        uri = source.text("S3Uri")
        if source.text("S3DataType") != "S3Prefix" or uri is None:
            continue
        if uri.startswith("https://"):
            yield Finding(
                source.at("S3Uri"), f"received {show(uri)}; an S3 prefix should be s3://bucket/folder-or-file"
            )
        elif re.fullmatch(r"s3://[^/]+/?", uri):
            yield Finding(
                source.at("S3Uri"),
                f"received {show(uri)}, a whole bucket: all of its objects are read; name a folder or file in it",
            )


@reject("R23")
def content_type_v1(job: JobRequest) -> Findings:
    """ContentType of V1 is CSV with a header, or parquet."""
    if job.api == "V1":
        yield from _content_types(job)


@reject("R24")
def content_type_v2(job: JobRequest) -> Findings:
    """ContentType of V2 is one of the problem's."""
    if job.api == "V2":
        yield from _content_types(job)


def _content_types(job: JobRequest) -> Findings:
    if job.problem is None:
        return
    valid = CONTENT_TYPES[job.problem]
    for channel in job.channels:
        received = channel.text("ContentType")
        if received is not None and received not in valid:
            yield Finding(
                channel.at("ContentType"),
                f"received {show(received)}; {job.problem} data must be {alternatives(valid)}, in this spelling",
            )


@reject("R25")
def gzip_v2(job: JobRequest) -> Findings:
    """V2 reads Gzip only from an S3 prefix of tabular data."""
    if job.api != "V2" or job.problem is None:
        return
    for channel, source in job.sources:
        if channel.text("CompressionType") != "Gzip":
            continue
        data_type = source.text("S3DataType")
        if job.problem != "Tabular":
            yield Finding(
                channel.at("CompressionType"),
                f"received 'Gzip' for {job.problem}; only tabular data may be compressed: leave it out or say 'None'",
            )
        elif data_type in ("ManifestFile", "AugmentedManifestFile"):
            yield Finding(
                channel.at("CompressionType"),
                f"received 'Gzip' with {data_type}; only S3Prefix data may be compressed: leave it out or say 'None'",
            )


@warn("R25")
def doubtful_gzip(job: JobRequest) -> Findings:
    """Gzip of manifests (V1) and of parquet is not described."""
    if job.problem != "Tabular":
        return
    for channel, source in job.sources:
        if channel.text("CompressionType") != "Gzip":
            continue
        if job.api == "V1" and source.text("S3DataType") == "ManifestFile":
            yield Finding(
                channel.at("CompressionType"),
                "received 'Gzip' with a manifest; whether its objects may be compressed is not documented",
            )
        if channel.text("ContentType") == PARQUET:
            yield Finding(
                channel.at("CompressionType"),
                "received 'Gzip' with parquet, which has a compression of its own; leave it out",
            )


@reject("R27")
def output_path_length(job: JobRequest) -> Findings:
    """S3OutputPath has at most 512 characters, whatever the model says."""
    output = job.root.node("OutputDataConfig")
    path = output.text("S3OutputPath")
    if path is not None and len(path) > MAX_OUTPUT_PATH:
        yield Finding(
            output.at("S3OutputPath"),
            f"received {counted(len(path), 'character')} ({show(path)}); must have at most {MAX_OUTPUT_PATH}",
        )


@warn("R27")
def output_path_length_v1(job: JobRequest) -> Findings:
    """Older pages of V1 allow at most 128 characters."""
    output = job.root.node("OutputDataConfig")
    path = output.text("S3OutputPath")
    if job.api == "V1" and path is not None and MAX_OUTPUT_PATH_V1 < len(path) <= MAX_OUTPUT_PATH:
        yield Finding(
            output.at("S3OutputPath"),
            f"received {counted(len(path), 'character')}; "
            f"some of AWS's pages allow CreateAutoMLJob no more than {MAX_OUTPUT_PATH_V1}",
        )
