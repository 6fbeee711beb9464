"""What the tasks after training share: which candidate they are about, and how it is to be served."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar

from airflow_automl import xcom
from airflow_automl.contract import documents
from airflow_automl.exceptions import AutoMLJobNotFound, AutoMLValidationError, NoBestCandidate
from airflow_automl.operators._base import UNSET, JobReader, document, response_keys, whole_number
from airflow_automl.operators._model_request import ServedCandidate


class CandidateOperator(JobReader):
    """An operator about one candidate: given as XCom, or the best one of a job.

    :param candidate: the candidate's document in AWS's keys, such as ``train.best_candidate``. ``None`` (a job that
        has no best candidate) raises :class:`~airflow_automl.exceptions.NoBestCandidate`.
    :param job: the job's document, such as ``train.job``; role, KMS, VPC and tags are taken from it. Without
        ``candidate``, its best candidate is used.
    :param job_name: the name of an AutoML job (V1 or V2) to use instead of ``job``.
    """

    template_fields = (*JobReader.template_fields, "candidate")
    job_is_required: ClassVar[bool] = False
    candidate_is_required: ClassVar[bool] = True

    def __init__(self, *, candidate: Any = UNSET, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.candidate = None if candidate is UNSET else candidate
        self._candidate_given = candidate is not UNSET
        given = self._candidate_given or self.job is not None or self.job_name is not None
        if self.candidate_is_required and not given:
            raise AutoMLValidationError(
                type(self).__name__,
                ["candidate, job, job_name: none is given; pass candidate=train.best_candidate, or job_name="],
            )

    def resolve(self) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Return the candidate and its job's document (``None`` if only a candidate was given).

        Operations: none for XComs; DescribeAutoMLJobV2 (V1 as fallback) if the service must be called.

        :raises NoBestCandidate: the job has none.
        :raises AutoMLJobNotFound: there is no such job.
        """
        job = document(self.job, "job")
        if xcom.job_name(job) is None and (job or not (self.job_name or self._candidate_given)):
            why = (job or {}).get("reason") or ""
            raise NoBestCandidate(f"no job was submitted, so {self.task_id} has no candidate. {why}")
        if self.job_name and job is None:
            job = self._describe_job(self.job_name)
        candidate = document(self.candidate, "candidate") if self._candidate_given else None
        if not candidate and job:
            # The XCom is also missing if the upstream task has do_xcom_push=False: ask the service.
            with suppress(*([AutoMLJobNotFound] if self._candidate_given else [])):
                candidate = self.hook.best_candidate(self.job_name or str(job["name"]))
        if not candidate:
            if job:
                why = f"job {job['name']} ({job.get('status')}/{job.get('secondary_status')}) has no best candidate"
            else:
                why = (
                    "candidate is None: the job has no best candidate, or the task before pushed none because it has "
                    "do_xcom_push=False (pass job=train.job or job_name= then)"
                )
            raise NoBestCandidate(f"{why}, so {self.task_id} has no candidate")
        if not isinstance(candidate, dict) or not candidate.get("CandidateName"):
            raise AutoMLValidationError(
                "candidate",
                [f"candidate: is not a candidate's document with a CandidateName: {str(candidate)[:80]!r}"],
            )
        return candidate, job

    def _describe_job(self, name: str) -> dict[str, Any]:
        answer = self.hook.describe_job(name)
        arn = answer["AutoMLJobArn"]
        return dict(documents.job(answer, arn=arn, tags=self.hook.read_tags(arn) or {}))


class ServingOperator(CandidateOperator):
    """An operator that makes a model of a candidate, from the arguments that each operator documents."""

    template_fields = (
        *CandidateOperator.template_fields,
        *("instance_type", "instance_count", "response", "model", "role_arn", "tags"),
    )

    def __init__(
        self,
        *,
        instance_type: str | None = None,
        instance_count: int | str = 1,
        response: Sequence[str] | str | None = None,
        model: dict[str, Any] | None = None,
        role_arn: str | None = None,
        tags: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.instance_type = instance_type
        self.instance_count = instance_count
        self.response = response
        self.model = model
        self.role_arn = role_arn
        self.tags = tags

    def instances(self) -> int:
        """Return how many instances to use.

        :raises AutoMLValidationError: ``instance_count`` is not a whole number of at least 1.
        """
        count = whole_number(self.instance_count, "instance_count")
        return 1 if count is None else count

    def served_candidate(self) -> ServedCandidate:
        """Return the candidate, and how it is to be served.

        :raises NoBestCandidate: there is no candidate.
        """
        candidate, job = self.resolve()
        return ServedCandidate(
            candidate,
            job or {},
            self.hook.defaults,
            self.instance_type,
            response_keys(self.response),
            self.role_arn,
            document(self.model, "model", "CreateModelInput") or {},
            document(self.tags, "tags") or {},
        )
