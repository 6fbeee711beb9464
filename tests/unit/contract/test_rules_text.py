import pytest

from tests.unit.contract.samples import GEN, TXT, found, v2, warned

HYPERPARAMETERS = f"{GEN}.TextGenerationHyperParameters"


def generation(**hyperparameters):
    return v2("generation", {"TextGenerationHyperParameters": hyperparameters})


class TestR72Columns:
    def test_content_and_label_differ(self):
        assert found("V2", v2("text", {"TargetLabelColumn": "review"})) == {("R72", f"{TXT}.ContentColumn")}

    def test_case_makes_a_difference(self):
        assert found("V2", v2("text", {"TargetLabelColumn": "Review"})) == set()


class TestR87Names:
    @pytest.mark.parametrize("name", ["EpochCount", "epochs", "temperature", "learning_rate"])
    def test_others_are_rejected(self, name):
        assert found("V2", generation(**{name: "1"})) == {("R87", f"{HYPERPARAMETERS}.{name}")}

    def test_all_four_at_once(self):
        request = generation(epochCount="3", batchSize="8", learningRate="0.0001", learningRateWarmupSteps="10")
        assert warned("V2", request) == set()


class TestR88Ranges:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("epochCount", "1"),
            ("epochCount", "10"),
            ("batchSize", "64"),
            ("learningRate", "0"),
            ("learningRate", "1"),
            ("learningRate", "1.0"),
            ("learningRate", "1e-5"),
            ("learningRate", "2.5E-4"),
            ("learningRate", ".5"),
            ("learningRateWarmupSteps", "0"),
            ("learningRateWarmupSteps", "250"),
        ],
    )
    def test_bounds_are_included(self, name, value):
        assert found("V2", generation(**{name: value})) == set()

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("epochCount", "0"),
            ("epochCount", "11"),
            ("epochCount", "1.5"),
            ("epochCount", "3.0"),
            ("epochCount", "1e1"),
            ("epochCount", "1_0"),
            ("epochCount", "-1"),
            ("epochCount", "ten"),
            ("epochCount", "9999999999999999"),
            ("batchSize", "0"),
            ("batchSize", "65"),
            ("learningRate", "-0.1"),
            ("learningRate", "1.01"),
            ("learningRate", "nan"),
            ("learningRate", "inf"),
            ("learningRate", "1e999"),
            ("learningRateWarmupSteps", "251"),
            ("learningRateWarmupSteps", "-1"),
        ],
    )
    def test_others_are_rejected(self, name, value):
        assert found("V2", generation(**{name: value})) == {("R88", f"{HYPERPARAMETERS}.{name}")}

    @pytest.mark.parametrize("value", ["", "1 ", "+1"])
    def test_a_value_that_breaks_the_pattern_violates_the_shape_too(self, value):
        path = f"{HYPERPARAMETERS}.epochCount"
        assert found("V2", generation(epochCount=value)) == {("R88", path), ("shape", path)}

    def test_numbers_are_strings(self):
        assert found("V2", generation(epochCount=3)) == {("shape", f"{HYPERPARAMETERS}.epochCount")}


class TestR90Eula:
    PATH = f"{GEN}.ModelAccessConfig.AcceptEula"

    def test_refusal_is_warned_about(self):
        assert warned("V2", v2("generation", {"ModelAccessConfig": {"AcceptEula": False}})) == {("R90", self.PATH)}

    def test_silence_on_another_model_is_warned_about(self):
        assert warned("V2", v2("generation", {"BaseModelName": "Llama2-7B"})) == {("R90", self.PATH)}

    @pytest.mark.parametrize("config", [{}, {"BaseModelName": "Falcon7BInstruct"}])
    def test_the_default_model_needs_no_eula(self, config):
        assert warned("V2", v2("generation", config)) == set()

    def test_acceptance_makes_it_a_success(self):
        config = {"BaseModelName": "Llama2-7B", "ModelAccessConfig": {"AcceptEula": True}}
        assert warned("V2", v2("generation", config)) == set()
