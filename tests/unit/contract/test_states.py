import itertools

import pytest

from airflow_automl.contract.model import shapes
from airflow_automl.contract.states import (
    FINAL_PRECEDENCE,
    ORDER,
    PAIRS,
    Expectation,
    JobStatus,
    Outcome,
    SecondaryStatus,
    Use,
    definitions_only,
    deployment_failed,
    is_terminal,
    outcome,
    phases,
    runtime_limit_reached,
    secondary_status,
)

CANDIDATE = {"BestCandidate": {"CandidateName": "a"}}


def describe(status, secondary, **members):
    return {"AutoMLJobStatus": status, "AutoMLJobSecondaryStatus": secondary, **members}


def test_the_values_are_the_models():
    assert {str(value) for value in JobStatus} == set(shapes()["AutoMLJobStatus"]["enum"])
    assert {str(value) for value in SecondaryStatus} == set(shapes()["AutoMLJobSecondaryStatus"]["enum"])


def test_the_table_has_every_pair_that_can_be_met():
    assert len(PAIRS) == 27
    assert len(JobStatus) * len(SecondaryStatus) - len(PAIRS) == 68
    assert {pair.secondary for pair in PAIRS.values()} == set(SecondaryStatus)
    for (status, secondary), pair in PAIRS.items():
        assert (status, secondary) == (pair.status, pair.secondary)
        assert pair.terminal is (status in ("Completed", "Failed", "Stopped"))


def test_pairs_are_found_by_plain_strings():
    pair = PAIRS["Completed", "CandidateDefinitionsGenerated"]
    assert pair.best_candidate is Expectation.ABSENT
    assert pair.use is Use.EMIT


def test_only_the_graceful_end_is_documented():
    assert [pair.secondary for pair in PAIRS.values() if pair.documented] == ["MaxAutoMLJobRuntimeReached"]


@pytest.mark.parametrize(
    ("status", "terminal"),
    [("InProgress", False), ("Stopping", False), ("Completed", True), (None, False), ("New", False)],
)
def test_terminal_statuses(status, terminal):
    assert is_terminal(status) is terminal


def test_a_new_secondary_status_stays_a_string():
    assert secondary_status("Starting") is SecondaryStatus.STARTING
    assert secondary_status("WarmingUp") == "WarmingUp"


class TestOrder:
    def test_phases_are_ones_that_the_service_emits(self):
        for phase in itertools.chain.from_iterable(ORDER.values()):
            assert PAIRS["InProgress", phase.secondary].use is Use.EMIT

    def test_every_path_through_the_statuses_starts_the_same_and_never_goes_back(self):
        for way in ORDER.values():
            assert way[0].secondary == "Starting"
            assert len({phase.secondary for phase in way}) == len(way)

    def test_auto_has_the_phases_of_the_mode_that_it_resolves_to(self):
        assert [phase.secondary for phase in phases("AUTO")] == ["Starting", "AnalyzingData"]
        assert [phase.secondary for phase in phases("AUTO", "ENSEMBLING")][:4] == [
            *("Starting", "AnalyzingData", "PreTraining", "TrainingModels"),
        ]
        assert phases("AUTO", "HYPERPARAMETER_TUNING") == ORDER["HYPERPARAMETER_TUNING"]
        assert phases("TextGeneration") == ORDER["TextGeneration"]

    def test_ends_are_pairs(self):
        for secondary in FINAL_PRECEDENCE:
            assert PAIRS["Completed", secondary].use is Use.EMIT
        assert {("Stopping", "Stopping"), ("Stopped", "Stopped")} < PAIRS.keys()


class TestOutcome:
    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (describe("InProgress", "ModelTuning", **CANDIDATE), Outcome.RUNNING),
            (describe("Stopping", "Stopping"), Outcome.RUNNING),
            (describe("InProgress", "WarmingUp"), Outcome.RUNNING),
            ({}, Outcome.RUNNING),
            (describe("Completed", "Completed", **CANDIDATE), Outcome.COMPLETED),
            (describe("Completed", "MaxCandidatesReached", **CANDIDATE), Outcome.COMPLETED),
            (describe("Completed", "BrandNew", **CANDIDATE), Outcome.COMPLETED),
            (describe("Completed", "MaxAutoMLJobRuntimeReached", **CANDIDATE), Outcome.COMPLETED),
            (describe("Completed", "MaxAutoMLJobRuntimeReached"), Outcome.COMPLETED_WITHOUT_CANDIDATE),
            (describe("Completed", "CandidateDefinitionsGenerated"), Outcome.COMPLETED_WITHOUT_CANDIDATE),
            (describe("Completed", "Completed", BestCandidate={}), Outcome.COMPLETED_WITHOUT_CANDIDATE),
            (describe("Completed", "ExplainabilityError", **CANDIDATE), Outcome.COMPLETED_WITH_WARNINGS),
            (describe("Completed", "ModelInsightsError", **CANDIDATE), Outcome.COMPLETED_WITH_WARNINGS),
            (describe("Completed", "ModelDeploymentError", **CANDIDATE), Outcome.COMPLETED_WITH_WARNINGS),
            (
                describe("Completed", "Completed", PartialFailureReasons=[{"PartialFailureMessage": "x"}], **CANDIDATE),
                Outcome.COMPLETED_WITH_WARNINGS,
            ),
            (describe("Failed", "Failed"), Outcome.FAILED),
            (describe("Failed", "ModelDeploymentError", **CANDIDATE), Outcome.FAILED),
            (describe("Stopped", "Stopped", **CANDIDATE), Outcome.STOPPED),
            (describe("Stopped", "MaxAutoMLJobRuntimeReached"), Outcome.STOPPED),
        ],
    )
    def test_ends_are_distinguished(self, answer, expected):
        assert outcome(answer) is expected

    @pytest.mark.parametrize(("status", "secondary"), list(PAIRS))
    def test_it_ends_when_the_status_does(self, status, secondary):
        assert outcome(describe(status, secondary)).terminal is is_terminal(status)


class TestDefinitionsOnly:
    @pytest.mark.parametrize(
        "answer",
        [
            describe("Completed", "CandidateDefinitionsGenerated"),
            describe("InProgress", "AnalyzingData", GenerateCandidateDefinitionsOnly=True),
            describe(
                "InProgress",
                "Starting",
                AutoMLProblemTypeConfig={"TabularJobConfig": {"GenerateCandidateDefinitionsOnly": True}},
            ),
        ],
    )
    def test_it_is_known_from_the_end_and_from_the_request(self, answer):
        assert definitions_only(answer)

    @pytest.mark.parametrize(
        "answer",
        [
            {},
            describe("InProgress", "CandidateDefinitionsGenerated"),
            describe("Completed", "Completed", GenerateCandidateDefinitionsOnly=False),
            describe("Completed", "Completed", AutoMLProblemTypeConfig=None),
            describe("Completed", "Completed", AutoMLProblemTypeConfig={"SDK_UNKNOWN_MEMBER": {"name": "New"}}),
        ],
    )
    def test_other_jobs_train(self, answer):
        assert not definitions_only(answer)


class TestDeploymentFailed:
    ASKED = {"ModelDeployConfig": {"EndpointName": "churn"}}
    DONE = {"ModelDeployResult": {"EndpointName": "churn"}}

    def test_an_error_says_so(self):
        assert deployment_failed(describe("Completed", "ModelDeploymentError", **CANDIDATE))

    def test_a_missing_result_says_so(self):
        assert deployment_failed(describe("Completed", "Completed", **self.ASKED))
        assert deployment_failed(describe("Completed", "Completed", ModelDeployResult={}, **self.ASKED))

    def test_the_runtime_limit_cuts_it_off(self):
        answer = describe("Completed", "MaxAutoMLJobRuntimeReached", **self.ASKED, **CANDIDATE)
        assert deployment_failed(answer)
        assert runtime_limit_reached(answer)

    def test_a_deployment_that_happened_or_was_not_requested_is_not_a_failure(self):
        assert not deployment_failed(describe("Completed", "Completed", **self.ASKED, **self.DONE))
        assert not deployment_failed(describe("Completed", "Completed"))
        assert not deployment_failed(describe("Completed", "Completed", ModelDeployConfig=None))

    def test_unfinished_and_failed_jobs_are_another_matter(self):
        assert not deployment_failed(describe("InProgress", "DeployingModel", **self.ASKED))
        assert not deployment_failed(describe("Failed", "ModelDeploymentError", **self.ASKED))

    def test_definitions_have_nothing_to_deploy(self):
        assert not deployment_failed(describe("Completed", "CandidateDefinitionsGenerated", **self.ASKED))
