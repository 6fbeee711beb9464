"""What the operators share that make a model of a candidate, to deploy it or to score with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.operators._base import document, response_keys
from airflow_automl.operators._candidate_operator import CandidateOperator
from airflow_automl.operators._model_request import ServedCandidate


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

        :raises AutoMLValidationError: ``instance_count`` is not a whole number.
        """
        try:
            return int(self.instance_count)
        except ValueError:
            problem = f"{self.instance_count!r} is not valid for instance_count: not a whole number. Pass 1 or more"
            raise AutoMLValidationError(type(self).__name__, [problem]) from None

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
