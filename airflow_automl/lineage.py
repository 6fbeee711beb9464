"""OpenLineage: what a job read and wrote, and what came of it. Imported by the OpenLineage provider's call alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attr
from airflow.providers.openlineage.extractors import OperatorLineage
from openlineage.client.event_v2 import Dataset, InputDataset, OutputDataset
from openlineage.client.facet_v2 import JobFacet, RunFacet, external_query_run

from airflow_automl.contract import documents
from airflow_automl.contract.metrics import direction, standard_name
from airflow_automl.times import seconds_between

if TYPE_CHECKING:
    from airflow_automl.contract.documents import BestCandidate

#: The source in OpenLineage's ExternalQuery facet.
SOURCE = "sagemaker-automl"


@attr.define
class AutoMLJobFacet(JobFacet):
    """Job facet ``automl``: what the task trains.

    :param apiVersion: ``V1`` or ``V2``.
    :param problemType: as the API names it; ``None`` as long as the service has not found it out.
    :param objectiveMetric: what candidates are ranked by.
    :param direction: ``Maximize`` or ``Minimize``.
    """

    apiVersion: str  # noqa: N815
    problemType: str | None  # noqa: N815
    objectiveMetric: str | None  # noqa: N815
    direction: str | None


@attr.define
class AutoMLRunFacet(RunFacet):
    """Run facet ``automl``: the job that this run of the task made or waited for.

    :param seconds: from the job's creation to its end; ``None`` for one that has not ended.
    :param bestCandidate: its name.
    :param bestValue: its value of the objective metric.
    """

    jobName: str  # noqa: N815
    jobArn: str | None  # noqa: N815
    status: str | None
    secondaryStatus: str | None  # noqa: N815
    created: str | None
    ended: str | None
    seconds: float | None
    bestCandidate: str | None  # noqa: N815
    bestValue: float | None  # noqa: N815
    partialFailures: list[str]  # noqa: N815
    failureReason: str | None  # noqa: N815


def lineage(describe: Mapping[str, Any] | None) -> OperatorLineage:
    """Return the lineage of a job.

    :param describe: the newest describe answer that the task has; ``None`` if it has no job.
    :return: the channels' data as inputs; the best candidate's models and reports, and the job's notebooks, as
        outputs; facets ``automl`` of job and run, and the job's ARN as the run's ``externalQuery``.
    """
    if not describe:
        return OperatorLineage()
    job = documents.job(describe)
    candidate = documents.best_candidate(describe)
    metric = (candidate or {}).get("FinalAutoMLJobObjectiveMetric") or {}
    objective = job["objective"] or (standard_name(metric) if metric else None)
    run_facets: dict[str, RunFacet] = {
        "automl": AutoMLRunFacet(
            jobName=job["name"],
            jobArn=job["arn"],
            status=job["status"],
            secondaryStatus=job["secondary_status"],
            created=job["created"],
            ended=job["ended"],
            seconds=seconds_between(job["created"], job["ended"]),
            bestCandidate=(candidate or {}).get("CandidateName"),
            bestValue=metric.get("Value"),
            partialFailures=job["partial_failures"],
            failureReason=describe.get("FailureReason"),
        )
    }
    if job["arn"]:
        run_facets["externalQuery"] = external_query_run.ExternalQueryRunFacet(
            externalQueryId=job["arn"], source=SOURCE
        )
    return OperatorLineage(
        inputs=_datasets(
            (documents.s3_source(each).get("S3Uri") for each in documents.channels(describe)), InputDataset
        ),
        outputs=_datasets(_artifacts(job["artifacts"], candidate), OutputDataset),
        run_facets=run_facets,
        job_facets={
            "automl": AutoMLJobFacet(
                apiVersion=job["api_version"],
                problemType=job["problem_type"],
                objectiveMetric=objective,
                direction=_direction(objective, metric),
            )
        },
    )


def _direction(objective: str | None, metric: Mapping[str, Any]) -> str | None:
    if metric.get("Type"):
        return str(metric["Type"])
    return direction(objective) if objective else None


def _artifacts(notebooks: Mapping[str, str], candidate: BestCandidate | None) -> list[str | None]:
    best: Mapping[str, Any] = candidate or {}
    models = [container.get("ModelDataUrl") for container in best.get("InferenceContainers") or ()]
    locations = (best.get("CandidateProperties") or {}).get("CandidateArtifactLocations") or {}
    return [*models, *locations.values(), *notebooks.values()]


def _datasets(uris: Iterable[str | None], kind: type[Dataset]) -> list[Dataset]:
    """OpenLineage names S3 data by bucket and key; each is named once."""
    names: dict[tuple[str, str], None] = {}
    for uri in filter(None, uris):
        scheme, _, place = uri.partition("://")
        bucket, _, key = place.partition("/")
        names[f"{scheme}://{bucket}", key.strip("/") or "/"] = None
    return [kind(namespace=namespace, name=name) for namespace, name in names]
