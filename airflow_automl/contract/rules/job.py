"""Rules of what every kind of job has: security, tags, deployment, compute, completion criteria."""

from __future__ import annotations

import re

from airflow_automl.contract.rules.registry import Finding, Findings, reject, warn
from airflow_automl.contract.rules.request import JobRequest
from airflow_automl.contract.wording import show

_SECURITY_GROUP = re.compile(r"sg-[0-9a-f]{8}(?:[0-9a-f]{9})?")


@warn("R30")
def security_group_form(job: JobRequest) -> Findings:
    """Ids of security groups begin with sg-."""
    for path, group in job.security.node("VpcConfig").texts("SecurityGroupIds"):
        if not _SECURITY_GROUP.fullmatch(group):
            yield Finding(path, f"received {show(group)}; ids of security groups look like sg-0123456789abcdef0")


@reject("R32")
def unique_tag_keys(job: JobRequest) -> Findings:
    """No two tags have the same key, case sensitively."""
    seen: dict[str, str] = {}
    for tag in job.root.nodes("Tags"):
        key = tag.text("Key")
        if key is None:
            continue
        if key in seen:
            yield Finding(tag.at("Key"), f"received {show(key)} again (first at {seen[key]}); give each key once")
        seen.setdefault(key, tag.path)


@reject("R33")
def no_name_for_generated_endpoint(job: JobRequest) -> Findings:
    """An endpoint whose name is generated can't be given one."""
    if job.deployment.get("AutoGenerateEndpointName") is True and job.deployment.has("EndpointName"):
        yield Finding(
            job.deployment.at("EndpointName"),
            f"received {show(job.deployment.get('EndpointName'))} although AutoGenerateEndpointName is true; "
            "leave out the one or the other",
        )


@reject("R34")
def name_for_endpoint(job: JobRequest) -> Findings:
    """An endpoint whose name is not generated needs one."""
    generated = (
        job.deployment.get("AutoGenerateEndpointName") if job.deployment.has("AutoGenerateEndpointName") else False
    )
    if job.deployment.present and generated is False and not job.deployment.has("EndpointName"):
        yield Finding(
            job.deployment.at("EndpointName"),
            "is missing, and AutoGenerateEndpointName is false (its default); "
            "name the endpoint, or set AutoGenerateEndpointName to true",
        )


@reject("R37")
def emr_for_tables(job: JobRequest) -> Findings:
    """EMR Serverless prepares tabular data and time series only."""
    compute = job.root.node("AutoMLComputeConfig")
    if (
        job.api == "V2"
        and job.problem not in (None, "Tabular", "TimeSeriesForecasting")
        and compute.has("EmrServerlessComputeConfig")
    ):
        yield Finding(
            compute.at("EmrServerlessComputeConfig"),
            f"received for {job.problem}; EMR Serverless takes Tabular and TimeSeriesForecasting jobs: leave it out",
        )


@warn("C30")
def compute_config_for_canvas(job: JobRequest) -> Findings:
    """The API's own text says that AutoMLComputeConfig is for SageMaker Canvas."""
    compute = job.root.node("AutoMLComputeConfig")
    if job.api == "V2" and compute.present:
        yield Finding(
            compute.path,
            "AWS's pages disagree on whether jobs outside SageMaker Canvas may set this; it may be ignored or refused",
        )


@reject("R49")
def one_candidate_outside_tabular(job: JobRequest) -> Findings:
    """Only tabular jobs train several candidates."""
    received = job.completion.integer("MaxCandidates")
    if job.problem not in (None, "Tabular") and received not in (None, 1):
        yield Finding(
            job.completion.at("MaxCandidates"),
            f"received {show(received)}; {job.problem} jobs train exactly 1 candidate: say 1 or leave it out",
        )


@warn("R51")
def candidate_limit_within_job_limit(job: JobRequest) -> Findings:
    """A training job can't use more time than the whole job has."""
    each = job.completion.integer("MaxRuntimePerTrainingJobInSeconds")
    whole = job.completion.integer("MaxAutoMLJobRuntimeInSeconds")
    if each is not None and whole is not None and each > whole:
        yield Finding(
            job.completion.at("MaxRuntimePerTrainingJobInSeconds"),
            f"received {show(each)} s, more than MaxAutoMLJobRuntimeInSeconds ({show(whole)} s): "
            "the job ends before this limit",
        )


@warn("R52")
def job_limit_given(job: JobRequest) -> Findings:
    """A job without a runtime limit costs what it likes."""
    if job.problem is not None and not job.definitions_only and not job.completion.has("MaxAutoMLJobRuntimeInSeconds"):
        yield Finding(
            job.completion.at("MaxAutoMLJobRuntimeInSeconds"),
            "no limit: the job may run, and be paid for, for up to 30 days; give a number of seconds",
        )


@warn("R59")
def known_mode_for_deployment(job: JobRequest) -> Findings:
    """AUTO can change the containers and their answers from one retraining to the next."""
    if job.automatic and job.deployment.present and not job.definitions_only:
        yield Finding(
            job.config.at("Mode"),
            "with AUTO (also the default) the size of the data chooses the mode, and with it the endpoint's containers "
            "and what its probability means; say ENSEMBLING or HYPERPARAMETER_TUNING for a model that is deployed",
        )


@warn("R71")
def nothing_to_deploy(job: JobRequest) -> Findings:
    """Candidate definitions alone give no model to deploy."""
    if job.definitions_only and job.deployment.present:
        yield Finding(
            job.deployment.path,
            "received together with GenerateCandidateDefinitionsOnly, which trains no model: nothing will be deployed",
        )
