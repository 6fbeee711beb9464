"""The data exploration notebook and the candidate definition notebook of a tabular job."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from airflow_automl import __version__
from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.engines.base import JobSpec, Run
from airflow_automl.local.training.engines.course import Course
from airflow_automl.local.training.engines.tabular import modes
from airflow_automl.local.training.engines.tabular.tuning.search import LINEAR, MLP, SearchSpace, algorithms_for

log = logging.getLogger(__name__)


def notebook(cells: Sequence[Any]) -> Any:
    """Return a notebook; cell ids are their positions, so that equal jobs make equal notebooks."""
    from nbformat import v4

    made = v4.new_notebook(
        cells=list(cells),
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
    )
    for number, cell in enumerate(made.cells):
        cell.id = f"cell-{number}"
    return made


def text(content: str) -> Any:
    """Return a Markdown cell."""
    from nbformat import v4

    return v4.new_markdown_cell(content.strip())


def code(content: str) -> Any:
    """Return a code cell."""
    from nbformat import v4

    return v4.new_code_cell(content.strip())


_CELL, _SENTENCE = 80, 1000
"""Characters of a value, and of settings or of a note, that are shown."""


def table(header: Sequence[str], rows: Sequence[Sequence[object]], most: int = _CELL) -> str:
    """Return a Markdown table; values can't break out of their cell."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(escape(entry, most) for entry in row) + " |" for row in rows]
    return "\n".join(lines)


def value(content: Any) -> str:
    """Return a value as Python source, whatever its strings hold."""
    return f"json.loads({json.dumps(json.dumps(content, indent=2))})"


def escape(content: object, most: int = _CELL) -> str:
    """Return a value as Markdown text: nothing in it is markup.

    :param most: characters that are shown.
    """
    shown = " ".join((f"{content:.4g}" if isinstance(content, float) else str(content)).split())
    shown = shown if len(shown) <= most else f"{shown[: most - 1]}…"
    # Jupyter shows what is between two dollars as a formula.
    shown = re.sub(r"[\\|`\[*_$~]", r"\\\g<0>", shown)
    return shown.replace("&", "&amp;").replace("<", "&lt;")


SAMPLE = 20_000
"""Rows that the findings are computed on."""

SHOWN = 50
"""Columns that a table shows."""


def exploration(spec: JobSpec, dataset: TabularDataset) -> Any:
    """Return the notebook of a job."""
    sample = dataset.train.head(SAMPLE)
    rows = len(dataset.train) + len(dataset.validation)
    inputs = [dict(entry) for entry in spec.request["AutoMLJobInputDataConfig"]]
    found = findings(sample, dataset)
    return notebook(
        [
            text(
                f"# Data exploration: {spec.name}\n\n"
                f"{rows} rows ({len(dataset.train)} to train, {len(dataset.validation)} to validate), "
                f"{len(dataset.features)} features, target **{escape(dataset.target)}**: {dataset.problem_type}, "
                f"objective {dataset.objective}.\n\nThe tables were computed when the job ran, on "
                f"{len(sample)} training rows. The cells read the data again and run from top to bottom; S3 and "
                "credentials come from the environment (`airflow-automl env` prints them). They import pandas and this "
                "package, which reads files with pyarrow and boto3:\n\n"
                f"    pip install airflow-automl=={__version__} pandas pyarrow boto3"
            ),
            text("## What to look at\n\n" + ("\n".join(f"- {entry}" for entry in found) or "Nothing stands out.")),
            text("## Columns\n\n" + table(*_columns(sample, dataset))),
            text("## Target\n\n" + table(*_target(sample, dataset))),
            text("## Read the data"),
            code(
                "import json\nimport tempfile\nfrom pathlib import Path\n\nimport pandas as pd\n\n"
                "from airflow_automl.local.training.data import channels, codec\n"
                "from airflow_automl.local.training.data.store import Store\n\n"
                f"INPUTS = {value(inputs)}\n"
                f"TARGET = {value(dataset.target)}\n"
                f"COLUMNS = {value([*dataset.columns, dataset.target])}\n\n"
                "training = channels.resolve(Store(), INPUTS).training\n"
                'folder = Path(tempfile.mkdtemp()) / "download"\n'
                "[table] = channels.read(Store(), [training], folder, [], strings=True)\n"
                "odd = {TARGET: 0}\n"
                "codecs = {name: codec.decide(name, table[name], odd=odd.get(name, codec.ODD)) for name in COLUMNS}\n"
                "frame = pd.DataFrame({name: codecs[name].read(table[name]).values for name in codecs})\n"
                "kinds = {name: str(found.kind) for name, found in codecs.items()}\n"
                'print(f"{len(frame)} rows, {frame.shape[1]} columns")'
            ),
            text("## A few rows"),
            code("frame.head(10)"),
            text("## Types, missing and distinct values"),
            code(
                "overview = pd.DataFrame(\n"
                '    {"kind": pd.Series(kinds), "missing": frame.isna().mean(), "distinct": frame.nunique()}\n'
                ")\noverview"
            ),
            text("## Numbers"),
            code('numbers = frame.select_dtypes("number")\nnumbers.describe().T if numbers.shape[1] else "no numbers"'),
            text("## The target"),
            code("frame[TARGET].describe() if kinds[TARGET] == 'number' else frame[TARGET].value_counts().head(20)"),
            text("## What goes with the target\n\nRank correlations with the target (its codes, if it holds classes)."),
            code(
                "codes = frame[TARGET] if TARGET in numbers else pd.Series(pd.factorize(frame[TARGET], sort=True)[0])\n"
                "others = numbers.drop(columns=TARGET, errors='ignore')\n"
                "others.rank().corrwith(codes.rank()).sort_values(key=abs, ascending=False).head(20)"
            ),
        ]
    )


def findings(sample: pd.DataFrame, dataset: TabularDataset) -> list[str]:
    """Return what a person should look at, in Markdown.

    :param sample: training rows.
    :param dataset: tells the columns apart.
    """
    missing = sample[dataset.columns].isna().mean()
    found = [
        f"**{escape(name)}** is missing in {share:.0%} of the rows."
        for name, share in missing[missing > 0.3][:SHOWN].items()
    ]
    for feature in dataset.features[:SHOWN]:
        values = sample[feature.name]
        distinct = values.nunique()
        if distinct <= 1:
            found.append(f"**{escape(feature.name)}** is always the same: nothing can be learned from it.")
        elif not (feature.numeric or feature.moment) and distinct > 0.95 * len(values.dropna()) > 100:
            found.append(f"**{escape(feature.name)}** is different in nearly every row: an identifier, or free text.")
        elif feature.numeric and distinct == len(values) > 100 and values.is_monotonic_increasing:
            found.append(f"**{escape(feature.name)}** counts the rows: leave it out if it is an index.")
    found += [escape(note, _SENTENCE) for note in dataset.notes]
    duplicates = int(sample.duplicated().sum())
    if duplicates:
        found.append(f"{duplicates} of {len(sample)} rows are exact copies of others.")
    if dataset.classification:
        shares = sample[dataset.target].value_counts(normalize=True)
        if shares.iloc[-1] < 0.05:
            found.append(f"The class **{escape(shares.index[-1])}** makes up {shares.iloc[-1]:.1%} of the rows.")
    return found


def _columns(sample: pd.DataFrame, dataset: TabularDataset) -> tuple[list[str], list[list[object]]]:
    rows: list[list[object]] = []
    for feature in dataset.features[:SHOWN]:
        values = sample[feature.name]
        top = values.mode()
        middle: object = ""
        if feature.numeric:
            middle = f"{values.min():.4g} … {values.mean():.4g} … {values.max():.4g}" if values.notna().any() else ""
        elif not top.empty:
            middle = f"most often {top.iloc[0]}"
        rows.append([feature.name, feature.kind, feature.role, float(values.isna().mean()), values.nunique(), middle])
    return ["column", "kind", "role", "missing", "distinct", "values (min … mean … max)"], rows


def _target(sample: pd.DataFrame, dataset: TabularDataset) -> tuple[list[str], list[list[object]]]:
    values = sample[dataset.target]
    if dataset.classification:
        counts = values.value_counts()
        return ["class", "rows", "share"], [
            [label, int(count), count / len(values)] for label, count in counts.head(SHOWN).items()
        ]
    described = values.describe()
    return ["statistic", "value"], [[name, float(number)] for name, number in described.items()]


def candidate_definitions(
    course: Course, dataset: TabularDataset, mode: str, algorithms: tuple[str, ...] | None
) -> Any:
    """Return the notebook of a job."""
    spec, criteria = course.run.spec, dict(course.criteria)
    defined = definitions(course, dataset, mode, algorithms)
    what = (
        "Each row is a model; the last candidate of each level is their weighted ensemble."
        if mode == modes.ENSEMBLING
        else "Each row is where the search begins with an algorithm; the search continues from what does best."
    )
    rows = [[entry["algorithm"], json.dumps(entry["settings"])] for entry in defined]
    # No request can name the network of an ensembling job (R55): it is trained if none are named.
    names = sorted({entry["algorithm"] for entry in defined} - ({MLP} if mode == modes.ENSEMBLING else set()))
    return notebook(
        [
            text(
                f"# Candidate definitions: {spec.name}\n\nMode {mode}, objective {dataset.objective}, limits "
                f"{json.dumps(criteria)}. {what}\n\nThe cells import boto3:\n\n    pip install boto3"
            ),
            text("## Candidates\n\n" + table(["algorithm", "settings"], rows, _SENTENCE)),
            text(
                "## Train again\n\nThe cells submit the job again, with the algorithms left in `SELECTED`, and "
                "wait for it. They run against the service that the environment names: the embedded Autopilot "
                "(`airflow-automl env` prints what to set) or AWS."
            ),
            code(
                "import json\nimport time\n\nimport boto3\n\n"
                f"REQUEST = {value(_request(spec, dataset, mode, criteria))}\n"
                f"ALGORITHMS = {names!r}\nSELECTED = [*ALGORITHMS]\n"
                "NAME = f\"{REQUEST.pop('Prefix')}-{int(time.time())}\"[:32]"
            ),
            code(
                'sagemaker = boto3.client("sagemaker")\n'
                'tabular = REQUEST["AutoMLProblemTypeConfig"]["TabularJobConfig"]\n'
                "if SELECTED != ALGORITHMS:\n"
                '    tabular["CandidateGenerationConfig"] = {\n'
                '        **tabular.get("CandidateGenerationConfig", {}),\n'
                '        "AlgorithmsConfig": [{"AutoMLAlgorithms": SELECTED}],\n    }\n'
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
    course: Course, dataset: TabularDataset, mode: str, algorithms: tuple[str, ...] | None
) -> list[dict[str, Any]]:
    """Return what a job trains: ``algorithm`` and ``settings`` of each candidate, or of each start of the search."""
    if mode == modes.ENSEMBLING:
        from airflow_automl.local.training.engines.tabular.ensembling import engine, plan

        made = engine.plan_for(course, engine.arrange(course, dataset), algorithms)
        names = {key: name for name, (key, _) in plan.ALGORITHMS.items()} | {plan.SPARSE: LINEAR, plan.MLP: MLP}
        found = [
            (level, -options["ag_args"]["priority"], names[key], plan.settings(options))
            for level, configurations in enumerate(made.levels, 1)
            for key, entries in configurations.items()
            for options in entries
        ]
        found.sort(key=lambda entry: entry[:2])
        return [
            {"algorithm": algorithm, "settings": settings if level == 1 else {"level": level, **settings}}
            for level, _, algorithm, settings in found
        ]
    space = SearchSpace(algorithms_for(algorithms), len(dataset.labels), len(dataset.train), dataset.objective)
    starts = []
    for start in space.starts():
        algorithm = start.pop("algorithm")
        starts.append({"algorithm": algorithm, "settings": start})
    return starts


def _request(spec: JobSpec, dataset: TabularDataset, mode: str, criteria: dict[str, int]) -> dict[str, Any]:
    """Return the job's own request completed with the defaults that the job used."""
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


def publish(course: Course, dataset: TabularDataset, mode: str, algorithms: tuple[str, ...] | None) -> None:
    """Store both notebooks and report their locations.

    :raises JobFailure: the store refused them.
    """
    run = course.run
    digest = hashlib.sha256(run.spec.arn.encode()).hexdigest()[:24]
    folder = f"{run.spec.output}sagemaker-automl-candidates/pr-1-{digest}/notebooks/"
    exploring = f"{folder}SageMakerAutopilotDataExplorationNotebook.ipynb"
    defining = f"{folder}SageMakerAutopilotCandidateDefinitionNotebook.ipynb"
    _store(run, exploration(run.spec, dataset), exploring)
    _store(run, candidate_definitions(course, dataset, mode, algorithms), defining)
    run.events.artifacts(
        {"CandidateDefinitionNotebookLocation": defining, "DataExplorationNotebookLocation": exploring}
    )


def _store(run: Run, notebook: Any, uri: str) -> None:
    import nbformat

    nbformat.validate(notebook)
    run.store.write(nbformat.writes(notebook), uri, "application/x-ipynb+json")
