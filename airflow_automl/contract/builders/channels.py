"""Builders of input channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, Unpack

from airflow_automl.contract.builders.parts import builder, given

Channel = Mapping[str, Any]
#: Input data: an S3 prefix, a channel, or a list of channels.
Data = str | Channel | Sequence[str | Channel]


class ChannelOptions(TypedDict, total=False):
    """Options of a channel: the parameters of :func:`channel` other than the address of the data."""

    channel_type: str | None
    content_type: str | None
    compression: str | None
    target: str | None
    sample_weight: str | None


@builder()
def channel(
    s3_uri: str,
    *,
    data_type: Literal["S3Prefix", "ManifestFile", "AugmentedManifestFile"] | str = "S3Prefix",
    channel_type: Literal["training", "validation"] | str | None = None,
    content_type: str | None = None,
    compression: Literal["None", "Gzip"] | str | None = None,
    target: str | None = None,
    sample_weight: str | None = None,
) -> dict[str, Any]:
    """Build a channel: data that a job reads.

    :param s3_uri: ``s3://bucket/folder-or-file``: every object under this prefix is read (R19, R20).
    :param data_type: what the URI names: ``S3Prefix``, ``ManifestFile`` (tabular and image data) or
        ``AugmentedManifestFile`` (image data of V2) (R17, R18).
    :param channel_type: ``training`` by default (R9).
    :param content_type: ``text/csv;header=present`` (default) or ``x-application/vnd.amazon+parquet``; for images
        ``image/png``, ``image/jpeg`` or ``image/*`` (default). The same for both channels (R11, R23, R24).
    :param compression: ``None`` by default; ``Gzip`` for S3 prefixes of tabular data only (R25).
    :param target: V1 only: the column to predict, the same for both channels (R12).
    :param sample_weight: V1 only: the column with the rows' weights, for ENSEMBLING (R65 to R67).
    """
    return given(
        DataSource={"S3DataSource": {"S3DataType": data_type, "S3Uri": s3_uri}},
        CompressionType=compression,
        TargetAttributeName=target,
        ContentType=content_type,
        ChannelType=channel_type,
        SampleWeightAttributeName=sample_weight,
    )


@builder(ChannelOptions)
def manifest(s3_uri: str, **options: Unpack[ChannelOptions]) -> dict[str, Any]:
    """Build a channel whose data a manifest lists, for tabular and image data (R17).

    :param s3_uri: the manifest: a JSON list, first ``{"prefix": "s3://…/"}``, then keys relative to it (R21).
    :param options: see :class:`ChannelOptions`.
    """
    return channel(s3_uri, data_type="ManifestFile", **options)


@builder(ChannelOptions)
def augmented_manifest(s3_uri: str, **options: Unpack[ChannelOptions]) -> dict[str, Any]:
    """Build a channel of labelled images that an augmented manifest lists, for V2 (R18).

    :param s3_uri: the manifest: JSON lines with ``source-ref`` and ``<label>-metadata`` holding ``class-name`` (R22).
    :param options: see :class:`ChannelOptions`.
    """
    return channel(s3_uri, data_type="AugmentedManifestFile", **options)


@builder(ChannelOptions)
def validation(data: str | Channel, **options: Unpack[ChannelOptions]) -> dict[str, Any]:
    """Build the channel of validation data, with the same columns and content type as the training data (R11, R13).

    :param data: an S3 prefix, or a channel, such as that of :func:`manifest`.
    :param options: see :class:`ChannelOptions`; only of a prefix.
    """
    built = dict(data) if isinstance(data, Mapping) else channel(data, **options)
    return {**built, "ChannelType": "validation"}


@builder(ChannelOptions)
def channels(train: Data, validate: str | Channel | None, **options: Unpack[ChannelOptions]) -> list[dict[str, Any]]:
    """Build the list of channels; ``options`` fill in the missing members of the channels.

    :param train: a prefix, a channel, or a list of either.
    :param validate: a prefix or a channel for validation.
    :param options: see :class:`ChannelOptions`.
    """
    listed: Any = train if isinstance(train, list | tuple) else [train]
    built = [_fill(item, options) for item in listed]
    if validate is not None:
        built.append(validation(_fill(validate, options)))
    return built


def _fill(data: str | Channel, options: ChannelOptions) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        return channel(data, **options)
    return {**data, **{name: value for name, value in channel("", **options).items() if name not in data}}
