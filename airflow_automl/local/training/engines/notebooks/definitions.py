"""The candidate definition notebook: what the job trains, and cells that train a chosen part of it again."""

from __future__ import annotations

import json
from typing import Any

from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.engines.base import JobSpec
from airflow_automl.local.training.engines.notebooks.cells import code, notebook, table, text, value
from airflow_automl.local.training.engines.tabular import modes


def build(
    spec: JobSpec, dataset: TabularDataset, mode: str, algorithms: tuple[str, ...] | None, criteria: dict[str, int]
) -> Any:
    """The notebook of a job.

    :param spec: the job.
    :param dataset: what it trains on.
    :param mode: ENSEMBLING or HYPERPARAMETER_TUNING.
    :param algorithms: what the request names, ``None`` for all.
    :param criteria: the resolved CompletionCriteria.
    """
    defined = definitions(spec, dataset, mode, algorithms, criteria)
    what = (
        "Each row is a model; the last candidate is their weighted ensemble."
        if mode == modes.ENSEMBLING
        else "Each row is where the search begins with an algorithm; the search goes on from what does best."
    )
    rows = [[entry["algorithm"], json.dumps(entry["settings"])] for entry in defined]
    names = sorted({entry["algorithm"] for entry in defined})
    return notebook(
        [
            text(
                f"# Candidate definitions: {spec.name}\n\nMode {mode}, objective {dataset.objective}, limits "
                f"{json.dumps(criteria)}. {what}\n\nThe cells import boto3:\n\n    pip install boto3"
            ),
            text("## Candidates\n\n" + table(["algorithm", "settings"], rows)),
            text(
                "## Train again\n\nThe cells submit the job anew, with the algorithms that are left in `SELECTED`, and "
                "wait for it. They run against the service that the environment names: the embedded Autopilot "
                "(`airflow-automl env` prints what to set) or AWS."
            ),
            code(
                "import json\nimport time\n\nimport boto3\n\n"
                f"REQUEST = {value(_request(spec, dataset, mode, criteria))}\n"
                f"SELECTED = {names!r}\n"
                "NAME = f\"{REQUEST.pop('Prefix')}-{int(time.time())}\"[:32]"
            ),
            code(
                'sagemaker = boto3.client("sagemaker")\n'
                'tabular = REQUEST["AutoMLProblemTypeConfig"]["TabularJobConfig"]\n'
                'tabular["CandidateGenerationConfig"] = {\n'
                '    **tabular.get("CandidateGenerationConfig", {}),\n'
                '    "AlgorithmsConfig": [{"AutoMLAlgorithms": SELECTED}],\n}\n'
                "sagemaker.create_auto_ml_job_v2(AutoMLJobName=NAME, **REQUEST)"
            ),
            code(
                'while (job := sagemaker.describe_auto_ml_job_v2(AutoMLJobName=NAME))["AutoMLJobStatus"] in (\n'
                '    "InProgress",\n    "Stopping",\n):\n    time.sleep(2)\n'
                'print(job["AutoMLJobStatus"], job["AutoMLJobSecondaryStatus"], job.get("FailureReason", ""))'
            ),
            code(
                'pages = sagemaker.get_paginator("list_candidates_for_auto_ml_job").paginate(AutoMLJobName=NAME)\n'
                'for candidate in (entry for page in pages for entry in page["Candidates"]):\n'
                '    metric = candidate.get("FinalAutoMLJobObjectiveMetric", {})\n'
                '    print(candidate["CandidateName"], candidate["CandidateStatus"], metric.get("MetricName"), '
                'metric.get("Value"))'
            ),
        ]
    )


def definitions(
    spec: JobSpec, dataset: TabularDataset, mode: str, algorithms: tuple[str, ...] | None, criteria: dict[str, int]
) -> list[dict[str, Any]]:
    """What a job trains: ``algorithm`` and ``settings`` of each candidate, or of each start of the search."""
    if mode == modes.ENSEMBLING:
        from airflow_automl.local.training.engines.tabular.ensembling import plan

        made = plan.make(
            rows=len(dataset.train),
            problem_type=dataset.problem_type,
            algorithms=algorithms,
            max_candidates=criteria.get("MaxCandidates"),
            seconds=None,
            seconds_per_model=criteria.get("MaxRuntimePerTrainingJobInSeconds"),
            threads=spec.threads,
            memory_limit=spec.memory_limit,
        )
        names = {key: name for name, (key, _) in plan.ALGORITHMS.items()}
        found = [
            (options["ag_args"]["priority"], names[key], {k: v for k, v in options.items() if k != "ag_args"})
            for key, entries in made.hyperparameters.items()
            for options in entries
        ]
        found.sort(key=lambda entry: -entry[0])
        return [{"algorithm": algorithm, "settings": settings} for _, algorithm, settings in found]
    from airflow_automl.local.training.engines.tabular.tuning.space import SearchSpace, algorithms_for

    space = SearchSpace(algorithms_for(algorithms), len(dataset.labels), len(dataset.train), dataset.objective)
    starts = []
    for start in space.starts():
        algorithm = start.pop("algorithm")
        starts.append({"algorithm": algorithm, "settings": start})
    return starts


def _request(spec: JobSpec, dataset: TabularDataset, mode: str, criteria: dict[str, int]) -> dict[str, Any]:
    """The job's own request with everything settled that it left open."""
    request = {
        key: spec.request[key]
        for key in ("AutoMLJobInputDataConfig", "OutputDataConfig", "RoleArn", "DataSplitConfig", "SecurityConfig")
        if spec.request.get(key)
    }
    config = {key: entry for key, entry in spec.config.items() if key != "GenerateCandidateDefinitionsOnly"}
    config |= {"Mode": mode, "ProblemType": dataset.problem_type, "CompletionCriteria": criteria}
    return {
        "Prefix": spec.name[:20].rstrip("-"),
        **request,
        "AutoMLJobObjective": {"MetricName": dataset.objective},
        "AutoMLProblemTypeConfig": {"TabularJobConfig": config},
    }
