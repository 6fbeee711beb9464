import pytest

from tests.unit.contract.samples import KINDS, TAB, found, v1, v2, warned

EMR = {"EmrServerlessComputeConfig": {"ExecutionRoleARN": "arn:aws:iam::123456789012:role/Emr"}}


@pytest.mark.parametrize(
    ("group", "doubtful"), [("sg-0123abcd", False), ("sg-0123456789abcdef0", False), ("vpc-1", True)]
)
def test_r30_security_groups_have_a_form(group, doubtful):
    security = {"VpcConfig": {"SecurityGroupIds": [group], "Subnets": ["subnet-1"]}}
    path = "SecurityConfig.VpcConfig.SecurityGroupIds[0]"
    assert warned("V2", v2(SecurityConfig=security)) == ({("R30", path)} if doubtful else set())
    expected = {("R30", f"AutoMLJobConfig.{path}")} if doubtful else set()
    assert warned("V1", v1(AutoMLJobConfig={"SecurityConfig": security})) == expected


class TestR32TagKeys:
    def test_every_repetition_is_reported(self):
        tags = [{"Key": key, "Value": "v"} for key in ("a", "b", "a", "a")]
        expected = {("R32", "Tags[2].Key"), ("R32", "Tags[3].Key")}
        assert found("V1", v1(Tags=tags)) == expected
        assert found("V2", v2(Tags=tags)) == expected

    def test_case_makes_a_difference(self):
        assert found("V2", v2(Tags=[{"Key": "a", "Value": ""}, {"Key": "A", "Value": ""}])) == set()


class TestR33AndR34EndpointName:
    PATH = "ModelDeployConfig.EndpointName"

    @pytest.mark.parametrize(
        ("config", "rule"),
        [
            ({}, "R34"),
            ({"AutoGenerateEndpointName": False}, "R34"),
            ({"AutoGenerateEndpointName": True, "EndpointName": "churn"}, "R33"),
            ({"AutoGenerateEndpointName": True}, None),
            ({"EndpointName": "churn"}, None),
            ({"AutoGenerateEndpointName": False, "EndpointName": "churn"}, None),
        ],
    )
    def test_a_name_is_given_or_generated(self, config, rule):
        expected = {(rule, self.PATH)} if rule else set()
        assert found("V1", v1(ModelDeployConfig=config)) == expected
        assert found("V2", v2("text", ModelDeployConfig=config)) == expected

    def test_an_empty_name_is_a_matter_of_its_pattern(self):
        assert found("V2", v2("text", ModelDeployConfig={"EndpointName": ""})) == {("shape", self.PATH)}

    def test_a_switch_that_is_not_a_boolean_violates_its_type(self):
        config = {"AutoGenerateEndpointName": "true"}
        assert found("V2", v2("text", ModelDeployConfig=config)) == {
            ("shape", "ModelDeployConfig.AutoGenerateEndpointName")
        }


@pytest.mark.parametrize("kind", KINDS)
def test_r37_emr_serverless_is_for_tables_and_series(kind):
    request = v2(kind, AutoMLComputeConfig=EMR)
    rejected = {("R37", "AutoMLComputeConfig.EmrServerlessComputeConfig")}
    assert found("V2", request) == (set() if kind in ("tabular", "time_series") else rejected)
    assert ("C30", "AutoMLComputeConfig") in found("V2", request, "warning")
    assert found("V2", v2(kind, AutoMLComputeConfig={})) == set()


class TestCompletionCriteria:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("candidates", [1, 2, 750])
    def test_r49_several_candidates_are_for_tables(self, kind, candidates):
        request = v2(kind)
        (name, config), *_ = request["AutoMLProblemTypeConfig"].items()
        config["CompletionCriteria"]["MaxCandidates"] = candidates
        path = f"AutoMLProblemTypeConfig.{name}.CompletionCriteria.MaxCandidates"
        assert found("V2", request) == (set() if kind == "tabular" or candidates == 1 else {("R49", path)})

    def test_r51_a_candidate_has_no_more_time_than_the_job(self):
        criteria = {"MaxRuntimePerTrainingJobInSeconds": 3601, "MaxAutoMLJobRuntimeInSeconds": 3600}
        path = "CompletionCriteria.MaxRuntimePerTrainingJobInSeconds"
        assert warned("V2", v2(config={"CompletionCriteria": criteria})) == {("R51", f"{TAB}.{path}")}
        assert warned("V1", v1(AutoMLJobConfig={"CompletionCriteria": criteria})) == {
            ("R51", f"AutoMLJobConfig.{path}")
        }

    def test_r52_a_job_without_limit_is_warned_about(self):
        path = "CompletionCriteria.MaxAutoMLJobRuntimeInSeconds"
        assert warned("V2", v2(config={"CompletionCriteria": {}})) == {("R52", f"{TAB}.{path}")}
        assert warned("V1", v1(AutoMLJobConfig={"CompletionCriteria": {}})) == {("R52", f"AutoMLJobConfig.{path}")}

    def test_r52_definitions_cost_next_to_nothing(self):
        request = v2(config={"CompletionCriteria": {}, "GenerateCandidateDefinitionsOnly": True})
        assert warned("V2", request) == set()


class TestDeployment:
    DEPLOY = {"EndpointName": "churn"}

    @pytest.mark.parametrize(("mode", "doubtful"), [(None, True), ("AUTO", True), ("ENSEMBLING", False)])
    def test_r59_auto_may_change_the_endpoints_answers(self, mode, doubtful):
        config = {"Mode": mode} if mode else {}
        expected = {("R59", f"{TAB}.Mode")} if doubtful else set()
        assert warned("V2", v2(config=config, ModelDeployConfig=self.DEPLOY)) == expected
        v1_expected = {("R59", "AutoMLJobConfig.Mode")} if doubtful else set()
        assert warned("V1", v1(AutoMLJobConfig=config, ModelDeployConfig=self.DEPLOY)) == v1_expected

    def test_r71_definitions_give_nothing_to_deploy(self):
        expected = {("R71", "ModelDeployConfig")}
        request = v1(GenerateCandidateDefinitionsOnly=True, ModelDeployConfig=self.DEPLOY)
        assert warned("V1", request) == expected
        request = v2(config={"GenerateCandidateDefinitionsOnly": True}, ModelDeployConfig=self.DEPLOY)
        assert warned("V2", request) == expected


def test_other_problems_have_no_mode_to_warn_about():
    assert warned("V2", v2("image", ModelDeployConfig={"EndpointName": "cats"})) == set()
