import pytest

from airflow_automl.contract.model import shapes
from airflow_automl.contract.values import ENSEMBLING_ALGORITHMS, HYPERPARAMETER_TUNING_ALGORITHMS
from tests.unit.contract.samples import KINDS, TAB, channel, found, v1, v2, warned

ALGORITHMS = tuple(shapes()["AutoMLAlgorithm"]["enum"])
GENERATION = "CandidateGenerationConfig.AlgorithmsConfig"


def both(config):
    """The same configuration in V1 and V2, each with the path to it."""
    return ("V1", v1(AutoMLJobConfig=config), "AutoMLJobConfig"), ("V2", v2(config=config), TAB)


def algorithms(*names, mode=None):
    config = {"CandidateGenerationConfig": {"AlgorithmsConfig": [{"AutoMLAlgorithms": list(names)}]}}
    return both(config | ({"Mode": mode} if mode else {}))


class TestR53Auto:
    @pytest.mark.parametrize("given", [[], [{"AutoMLAlgorithms": []}], [{"AutoMLAlgorithms": ["xgboost", "prophet"]}]])
    def test_any_algorithms_config_is_rejected(self, given):
        config = {"Mode": "AUTO", "CandidateGenerationConfig": {"AlgorithmsConfig": given}}
        for api, request, path in both(config):
            assert found(api, request) == {("R53", f"{path}.{GENERATION}")}

    def test_a_feature_specification_is_not(self):
        config = {"Mode": "AUTO", "CandidateGenerationConfig": {"FeatureSpecificationS3Uri": "s3://b/spec.json"}}
        assert found("V1", v1(AutoMLJobConfig=config)) == set()


class TestR54OneEntry:
    def test_two_entries_are_rejected(self):
        entries = [{"AutoMLAlgorithms": ["xgboost"]}, {"AutoMLAlgorithms": ["mlp"]}]
        config = {"Mode": "HYPERPARAMETER_TUNING", "CandidateGenerationConfig": {"AlgorithmsConfig": entries}}
        for api, request, path in both(config):
            assert found(api, request) == {("shape", f"{path}.{GENERATION}"), ("R54", f"{path}.{GENERATION}")}

    def test_an_entry_names_its_algorithms(self):
        for api, request, path in both({"Mode": "ENSEMBLING", "CandidateGenerationConfig": {"AlgorithmsConfig": [{}]}}):
            expected = f"{path}.{GENERATION}[0].AutoMLAlgorithms"
            assert found(api, request) == {("shape", expected), ("R54", expected)}

    def test_no_entry_is_warned_about(self):
        for api, request, path in both({"Mode": "ENSEMBLING", "CandidateGenerationConfig": {"AlgorithmsConfig": []}}):
            assert warned(api, request) == {("R54", f"{path}.{GENERATION}")}


class TestR55AlgorithmsOfTheMode:
    @pytest.mark.parametrize("name", ALGORITHMS)
    @pytest.mark.parametrize(
        ("mode", "valid"),
        [("ENSEMBLING", ENSEMBLING_ALGORITHMS), ("HYPERPARAMETER_TUNING", HYPERPARAMETER_TUNING_ALGORITHMS)],
    )
    def test_each_algorithm_in_each_mode(self, name, mode, valid):
        for api, request, path in algorithms("xgboost", name, mode=mode):
            expected = f"{path}.{GENERATION}[0].AutoMLAlgorithms[1]"
            assert found(api, request) == (set() if name in valid else {("R55", expected)})

    def test_none_means_all(self):
        for mode in ("ENSEMBLING", "HYPERPARAMETER_TUNING"):
            for api, request, _ in algorithms(mode=mode):
                assert warned(api, request) == set()


class TestR56WithoutMode:
    @pytest.mark.parametrize("names", [(), ("xgboost",), ("mlp",), ("catboost", "xgboost")])
    def test_algorithms_that_one_mode_trains_together_are_warned_about(self, names):
        for api, request, path in algorithms(*names):
            assert warned(api, request) == {("R56", f"{path}.{GENERATION}")}

    def test_algorithms_of_different_modes_are_rejected(self):
        for api, request, path in algorithms("mlp", "catboost"):
            assert found(api, request) == {("R56", f"{path}.{GENERATION}")}

    def test_an_algorithm_of_no_mode_is_rejected(self):
        for api, request, path in algorithms("xgboost", "prophet"):
            assert found(api, request) == {
                ("R55", f"{path}.{GENERATION}[0].AutoMLAlgorithms[1]"),
                ("R56", f"{path}.{GENERATION}"),
            }

    def test_a_mode_that_is_none_is_a_matter_of_shape(self):
        for api, request, path in algorithms("prophet", mode="FAST"):
            assert found(api, request) == {("shape", f"{path}.Mode")}


def test_r57_an_algorithm_named_twice_is_warned_about():
    for api, request, path in algorithms("xgboost", "mlp", "xgboost", mode="HYPERPARAMETER_TUNING"):
        assert warned(api, request) == {("R57", f"{path}.{GENERATION}[0].AutoMLAlgorithms[2]")}


class TestR65SampleWeights:
    @staticmethod
    def weighted(mode, *weights):
        types = ("training", "validation")
        channels = [
            channel(TargetAttributeName="y", SampleWeightAttributeName=weight, ChannelType=kind)
            for weight, kind in zip(weights, types, strict=False)
        ]
        return v1(InputDataConfig=channels, AutoMLJobConfig={"Mode": mode} if mode else {})

    @pytest.mark.parametrize("mode", [None, "AUTO", "ENSEMBLING", "HYPERPARAMETER_TUNING"])
    def test_only_ensembling_is_sure_to_take_them(self, mode):
        path1, path2 = "InputDataConfig[0].SampleWeightAttributeName", f"{TAB}.SampleWeightAttributeName"
        request = v2(config={"SampleWeightAttributeName": "w"} | ({"Mode": mode} if mode else {}))
        for api, sample, path in (("V1", self.weighted(mode, "w"), path1), ("V2", request, path2)):
            assert found(api, sample) == ({("R65", path)} if mode == "HYPERPARAMETER_TUNING" else set())
            doubtful = mode in (None, "AUTO")
            assert found(api, sample, "warning") == ({("R65", path)} if doubtful else set())

    def test_both_channels_have_the_same(self):
        path = "InputDataConfig[1].SampleWeightAttributeName"
        assert found("V1", self.weighted("ENSEMBLING", "w", "weight")) == {("R65", path)}
        assert found("V1", self.weighted("ENSEMBLING", "w", "w")) == set()

    def test_r67_weights_are_not_the_target(self):
        path = "InputDataConfig[0].SampleWeightAttributeName"
        assert warned("V1", self.weighted("ENSEMBLING", "y")) == {("R67", path)}
        request = v2(config={"Mode": "ENSEMBLING", "SampleWeightAttributeName": "y"})
        assert warned("V2", request) == {("R67", f"{TAB}.SampleWeightAttributeName")}


class TestR68Split:
    PATHS = (("V1", "AutoMLJobConfig.DataSplitConfig.ValidationFraction"), ("V2", "DataSplitConfig.ValidationFraction"))

    @staticmethod
    def split(api, fraction):
        config = {"ValidationFraction": fraction}
        return v1(AutoMLJobConfig={"DataSplitConfig": config}) if api == "V1" else v2(DataSplitConfig=config)

    @pytest.mark.parametrize("fraction", [0, 0.0, 1, 1.0])
    def test_the_bounds_are_excluded(self, fraction):
        for api, path in self.PATHS:
            assert found(api, self.split(api, fraction)) == {("R68", path)}

    @pytest.mark.parametrize("fraction", [-0.1, 1.1])
    def test_values_beyond_the_bounds_violate_the_model_too(self, fraction):
        for api, path in self.PATHS:
            assert found(api, self.split(api, fraction)) == {("R68", path), ("shape", path)}

    @pytest.mark.parametrize(("fraction", "doubtful"), [(0.001, False), (0.499, False), (0.5, True), (0.999, True)])
    def test_less_than_half_is_advised(self, fraction, doubtful):
        for api, path in self.PATHS:
            assert warned(api, self.split(api, fraction)) == ({("R68", path)} if doubtful else set())

    def test_none_given_is_fine(self):
        assert warned("V2", v2(DataSplitConfig={})) == set()

    @pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "time_series"])
    def test_r70_a_validation_channel_leaves_nothing_to_split(self, kind):
        channels = [channel(), channel(ChannelType="validation")]
        request = v2(kind, AutoMLJobInputDataConfig=channels, DataSplitConfig={"ValidationFraction": 0.3})
        assert warned("V2", request) == {("R70", "DataSplitConfig")}


def test_r71_definitions_belong_to_tuning():
    request = v1(GenerateCandidateDefinitionsOnly=True, AutoMLJobConfig={"Mode": "ENSEMBLING"})
    assert warned("V1", request) == {("R71", "GenerateCandidateDefinitionsOnly")}
    request = v2(config={"GenerateCandidateDefinitionsOnly": True, "Mode": "HYPERPARAMETER_TUNING"})
    assert warned("V2", request) == set()
