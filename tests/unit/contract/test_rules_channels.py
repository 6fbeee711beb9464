import pytest

from tests.unit.contract.samples import KINDS, channel, found, v1, v2, warned

PARQUET = "x-application/vnd.amazon+parquet"
CSV = "text/csv;header=present"
IN1, IN2 = "InputDataConfig", "AutoMLJobInputDataConfig"


def v1_channels(*channels):
    return v1(InputDataConfig=[{"TargetAttributeName": "y", **entry} for entry in channels])


def v2_channels(kind, *channels):
    return v2(kind, AutoMLJobInputDataConfig=list(channels))


@pytest.mark.parametrize("kind", KINDS)
def test_the_samples_have_no_violations(kind):
    assert warned("V2", v2(kind)) == set()
    assert warned("V1", v1()) == set()


class TestR10Channels:
    @pytest.mark.parametrize("types", [("training", "training"), ("validation",), ("validation", "validation")])
    def test_other_than_one_training_and_at_most_one_validation_channel_is_warned_about(self, types):
        channels = [channel(ChannelType=kind) for kind in types]
        assert warned("V2", v2_channels("tabular", *channels)) == {("R10", IN2)}

    def test_a_channel_without_type_is_a_training_channel(self):
        assert warned("V2", v2_channels("tabular", channel(), channel(ChannelType="validation"))) == set()
        assert warned("V2", v2_channels("tabular", channel(), channel(ChannelType="training"))) == {("R10", IN2)}


class TestR11ContentTypeOfBothChannels:
    def test_defaults_are_filled_in_before_comparing(self):
        explicit = channel(ChannelType="validation", ContentType=CSV)
        assert found("V2", v2_channels("tabular", channel(), explicit)) == set()
        images = channel(ChannelType="validation", ContentType="image/*")
        assert found("V2", v2_channels("image", channel(), images)) == set()

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ({"ContentType": PARQUET}, {}),
            ({}, {"ContentType": PARQUET}),
            ({"ContentType": CSV}, {"ContentType": PARQUET}),
        ],
    )
    def test_a_difference_is_reported_on_the_second_channel(self, first, second):
        second = {**second, "ChannelType": "validation"}
        assert found("V1", v1_channels(channel(**first), channel(**second))) == {("R11", f"{IN1}[1].ContentType")}
        assert found("V2", v2_channels("text", channel(**first), channel(**second))) == {
            ("R11", f"{IN2}[1].ContentType")
        }

    def test_image_types_are_compared_as_they_are_written(self):
        channels = channel(ContentType="image/*"), channel(ChannelType="validation", ContentType="image/png")
        assert found("V2", v2_channels("image", *channels)) == {("R11", f"{IN2}[1].ContentType")}


class TestR12TargetOfBothChannels:
    @pytest.mark.parametrize("target", ["z", "Y"])
    def test_a_difference_is_reported_case_sensitively(self, target):
        request = v1_channels(channel(), channel(ChannelType="validation", TargetAttributeName=target))
        assert found("V1", request) == {("R12", f"{IN1}[1].TargetAttributeName")}


class TestR16DataSource:
    def test_every_channel_needs_one(self):
        assert found("V1", v1(InputDataConfig=[{"TargetAttributeName": "y"}])) == {("R16", f"{IN1}[0].DataSource")}
        request = v2_channels("text", channel(), {"ChannelType": "validation"})
        assert found("V2", request) == {("R16", f"{IN2}[1].DataSource")}

    def test_an_empty_one_is_a_matter_of_shape(self):
        assert found("V2", v2_channels("text", {"DataSource": {}})) == {("shape", f"{IN2}[0].DataSource.S3DataSource")}


class TestR17AndR18DataTypes:
    ALLOWED = {"tabular": {"ManifestFile"}, "image": {"ManifestFile", "AugmentedManifestFile"}}

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("data_type", ["ManifestFile", "AugmentedManifestFile"])
    def test_manifests_by_problem(self, kind, data_type):
        expected = {("R17", f"{IN2}[0].DataSource.S3DataSource.S3DataType")}
        allowed = data_type in self.ALLOWED.get(kind, ())
        assert found("V2", v2_channels(kind, channel(data_type=data_type))) == (set() if allowed else expected)

    def test_v1_knows_manifests_but_no_augmented_ones(self):
        assert found("V1", v1_channels(channel(data_type="ManifestFile"))) == set()
        assert found("V1", v1_channels(channel(data_type="AugmentedManifestFile"))) == {
            ("R18", f"{IN1}[0].DataSource.S3DataSource.S3DataType")
        }


class TestR19Prefixes:
    PATH = f"{IN2}[0].DataSource.S3DataSource.S3Uri"

    @pytest.mark.parametrize("uri", ["https://bucket.example/train/", "s3://bucket", "s3://bucket/"])
    def test_other_forms_of_prefixes_are_warned_about(self, uri):
        assert warned("V2", v2_channels("tabular", channel(uri=uri))) == {("R19", self.PATH)}

    def test_manifests_may_lie_anywhere(self):
        request = v2_channels("tabular", channel(uri="https://host/x.manifest", data_type="ManifestFile"))
        assert warned("V2", request) == set()


class TestR23AndR24ContentTypes:
    @pytest.mark.parametrize("content_type", ["text/csv", "text/csv; header=present", "application/json", "image/png"])
    def test_v1_knows_two(self, content_type):
        assert found("V1", v1_channels(channel(ContentType=content_type))) == {("R23", f"{IN1}[0].ContentType")}

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("content_type", [CSV, PARQUET, "image/png", "image/jpeg", "image/*", "image/gif"])
    def test_v2_by_problem(self, kind, content_type):
        images = {"image/png", "image/jpeg", "image/*"}
        allowed = content_type in (images if kind == "image" else {CSV, PARQUET})
        expected = set() if allowed else {("R24", f"{IN2}[0].ContentType")}
        assert found("V2", v2_channels(kind, channel(ContentType=content_type))) == expected


class TestR25Compression:
    PATH = f"{IN2}[0].CompressionType"

    @pytest.mark.parametrize("kind", KINDS)
    def test_v2_compresses_tables_only(self, kind):
        expected = set() if kind == "tabular" else {("R25", self.PATH)}
        assert found("V2", v2_channels(kind, channel(CompressionType="Gzip"))) == expected
        assert found("V2", v2_channels(kind, channel(CompressionType="None"))) == set()

    def test_v2_compresses_no_manifests(self):
        request = v2_channels("tabular", channel(CompressionType="Gzip", data_type="ManifestFile"))
        assert found("V2", request) == {("R25", self.PATH)}

    def test_v1_manifests_and_parquet_are_doubtful(self):
        path = f"{IN1}[0].CompressionType"
        manifest = channel(CompressionType="Gzip", data_type="ManifestFile")
        assert warned("V1", v1_channels(manifest)) == {("R25", path)}
        assert warned("V1", v1_channels(channel(CompressionType="Gzip", ContentType=PARQUET))) == {("R25", path)}
        assert warned("V1", v1_channels(channel(CompressionType="Gzip"))) == set()


class TestR27OutputPath:
    @staticmethod
    def output(length):
        return {"S3OutputPath": "s3://bucket/".ljust(length, "p")}

    @pytest.mark.parametrize("length", [513, 1024])
    def test_more_than_512_characters_are_rejected(self, length):
        expected = {("R27", "OutputDataConfig.S3OutputPath")}
        assert found("V1", v1(OutputDataConfig=self.output(length))) == expected
        assert found("V2", v2("text", OutputDataConfig=self.output(length))) == expected

    @pytest.mark.parametrize(("length", "doubtful"), [(128, False), (129, True), (512, True)])
    def test_v1_may_allow_no_more_than_128(self, length, doubtful):
        expected = {("R27", "OutputDataConfig.S3OutputPath")} if doubtful else set()
        assert warned("V1", v1(OutputDataConfig=self.output(length))) == expected
        assert warned("V2", v2(OutputDataConfig=self.output(length))) == set()

    def test_beyond_the_model_both_say_so(self):
        request = v2("text", OutputDataConfig=self.output(1025))
        assert {rule for rule, _ in found("V2", request)} == {"R27", "shape"}


def test_channels_of_an_unclear_problem_have_no_findings():
    request = v2_channels("text", channel(ContentType="image/png", data_type="ManifestFile", CompressionType="Gzip"))
    request["AutoMLProblemTypeConfig"]["TabularJobConfig"] = {"TargetAttributeName": "y"}
    assert found("V2", request) == {("shape", "AutoMLProblemTypeConfig")}
