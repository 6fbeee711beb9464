"""Make ``docs/reference/fields.md``: every field of the four job operations, from the service model and the rules.

python tools/reference_docs.py            # write the page
python tools/reference_docs.py --check    # only check whether it is current
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from airflow_automl.contract.model import Field, fields, input_shape, output_shape  # noqa: E402

RULES = ROOT / "docs" / "reference" / "rules.md"
TARGET = ROOT / "docs" / "reference" / "fields.md"

INTRODUCTION = """\
# Fields

Every field of CreateAutoMLJob, CreateAutoMLJobV2, DescribeAutoMLJob and DescribeAutoMLJobV2, with its constraints, the
[rules](rules.md) that concern it, and the parts of `airflow_automl` that handle it. Made by `tools/reference_docs.py`.

`*` marks required members. `[]` is an entry of a list, `{}` a value and `{key}` a key of a map. A range limits the
value of a number, the characters of a string, or the entries of a list or map.

Operators, command line and embedded Autopilot check every request as a whole (`contract.check`). Missing, unknown or
`null` members of responses are accepted. *Handled by* names the builder or its parameter that sets the field, the
module that reads it, and the part of the embedded Autopilot (`local`) that implements it.
"""

# First match wins: a pattern of paths, and who handles them. Requests of both versions:
SAID = (
    (r"AutoMLJobName", "`name=`, else `naming`"),
    (r".*InputDataConfig", "`channel`, `validation`; `local.training.data`"),
    (r".*S3DataType", "`channel`, `manifest`, `augmented_manifest`; `local.training.data`"),
    (r".*DataSource.*", "`channel`; `local.training.data`"),
    (r".*CompressionType", "`compression=`; `local.training.data`"),
    (r".*ContentType", "`content_type=`; `local.training.data`"),
    (r".*ChannelType", "`validation`; `local.training.data`"),
    (r"OutputDataConfig.*", "`output`, else the connection; `local.training.data`"),
    (r".*TargetAttributeName", "`target=`; `local.training.data`"),
    (r".*SampleWeightAttributeName", "`sample_weight=`; `local.training.data`"),
    (r".*ProblemType", "`problem_type=`; `local.training.data`"),
    (r"AutoMLJobObjective.*", "`objective=`; `contract.metrics`, `local.training.engines`"),
    (r".*MaxCandidates", "`max_candidates=`; `local.training.engines`"),
    (r".*MaxRuntimePerTrainingJobInSeconds", "`max_runtime_per_training_job=`; `local.training.engines`"),
    (r".*MaxAutoMLJobRuntimeInSeconds", "`max_runtime=`, limited by `settings`; `local.jobs.executors`"),
    (r".*CompletionCriteria", "`completion_criteria`; `local.training.engines`"),
    (r".*SecurityConfig.*", "`security`, else the connection; repeated by `local.api`"),
    (r".*FeatureSpecificationS3Uri", "`feature_specification=`; `local.training.data`"),
    (r".*(CandidateGenerationConfig|AlgorithmsConfig).*", "`algorithms=`; `local.training.engines`"),
    (r".*DataSplitConfig.*", "`split`; `local.training.data`"),
    (r".*\.Mode", "`mode=`; `local.training.engines`"),
    (r"RoleArn", "`role=`, else the connection; repeated by `local.api`"),
    (r".*GenerateCandidateDefinitionsOnly", "`generate_candidate_definitions_only=`; `local.training.engines`"),
    (r"Tags.*", "`tags`, and the operators' own; `local.api`"),
    (r"ModelDeployConfig.*", "`deployment`; `local.one_click`"),
    (r"AutoMLComputeConfig.*", "`compute`; repeated by `local.api`"),
    (r".*ForecastFrequency", "`frequency=`; `local.training.engines`"),
    (r".*ForecastHorizon", "`horizon=`; `local.training.engines`"),
    (r".*ForecastQuantiles.*", "`quantiles=`; `local.training.engines`"),
    (r".*Aggregation.*", "`aggregation=`; `local.training.engines`"),
    (r".*(Transformations|Filling).*", "`filling=`; `local.training.engines`"),
    (r".*TimestampAttributeName", "`timestamp=`; `local.training.engines`"),
    (r".*ItemIdentifierAttributeName", "`item_id=`; `local.training.engines`"),
    (r".*GroupingAttributeNames.*", "`grouping=`; `local.training.engines`"),
    (r".*HolidayConfig.*", "`holidays=`; `local.training.engines`"),
    (r".*ContentColumn", "`content=`; `local.training.engines`"),
    (r".*TargetLabelColumn", "`label=`; `local.training.engines`"),
    (r".*BaseModelName", "`base_model=`; `local.training.engines`"),
    (
        r".*TextGenerationHyperParameters.*",
        "`epoch_count=`, `batch_size=`, `learning_rate=`, `learning_rate_warmup_steps=`; `local.training.engines`",
    ),
    (r".*ModelAccessConfig.*", "`accept_eula=`; `local.training.engines`"),
    (r".*TabularJobConfig", "`tabular`; `local.training.engines`"),
    (r".*ImageClassificationJobConfig", "`image_classification`; `local.training.engines`"),
    (r".*TextClassificationJobConfig", "`text_classification`; `local.training.engines`"),
    (r".*TextGenerationJobConfig", "`text_generation`; `local.training.engines`"),
    (r".*TimeSeries(Forecasting|JobConfig|Config).*", "`time_series`; `local.training.engines`"),
    (r"AutoMLProblemTypeConfig", "`job_v2`; `local.training.engines`"),
    (r"AutoMLJobConfig", "`job_v1`; `local.training.engines`"),
)
# Answers of both versions, besides what they repeat of the request:
READ = (
    (r"AutoMLJobArn", "`contract.documents`, `links`; `local.api`"),
    (r"AutoMLJobName", "`contract.documents`; `local.api`"),
    (r"AutoMLJobStatus", "`contract.states`, `triggers`, `ends`; `local.api`"),
    (r"AutoMLJobSecondaryStatus", "`contract.states`, `triggers`, `report`; `local.api`"),
    (r"(CreationTime|EndTime|LastModifiedTime)", "`contract.documents`, `report`; `local.api`"),
    (r"FailureReason", "`ends`, `report`; `local.api`"),
    (r"PartialFailureReasons.*", "`contract.documents`, `ends`, `report`; `local.api`"),
    (
        r"BestCandidate\.(FinalAutoMLJobObjectiveMetric|CandidateProperties\.CandidateMetrics).*",
        "`contract.metrics`, `operators.gate`, `report`; `local.training.engines`",
    ),
    (
        r"BestCandidate\.Inference.*",
        "`serving`, `operators.deploy`, `operators.transform`, `operators.register`; `local.training.engines`",
    ),
    (r"BestCandidate\.CandidateProperties.*", "`report`, `operators.register`; `local.training.engines`"),
    (r"BestCandidate\.CandidateSteps.*", "`report`; `local.training.engines`"),
    (r"BestCandidate.*", "`contract.documents`, `xcom`; `local.training.engines`"),
    (r"AutoMLJobArtifacts.*", "`contract.documents`, `report`; `local.api`"),
    (r"ResolvedAttributes.*", "`contract.documents`, `report`; `local.api`"),
    (r"AutoMLProblemTypeConfigName", "`contract.documents`; `local.api`"),
    (r"ModelDeployResult.*", "`contract.documents`, `ends`; `local.one_click`"),
    (r"ModelDeployConfig.*", "`contract.states`; repeated by `local.api`"),
    (r"(OutputDataConfig|RoleArn|.*SecurityConfig).*", "`contract.documents`; repeated by `local.api`"),
    (r".*(ProblemType|JobObjective.*|AutoMLProblemTypeConfig)", "`contract.documents`; repeated by `local.api`"),
    (r".*GenerateCandidateDefinitionsOnly", "`contract.states`; repeated by `local.api`"),
    (r".*", "repeated by `local.api`"),
)
LOOKED_UP = ((r"AutoMLJobName", "`hooks`; `local.api`"),)


class Table(NamedTuple):
    """One table of the page: the fields of a request or response, and what handles them."""

    title: str
    version: str
    shape: str
    handlers: tuple[tuple[str, str], ...]


def tables() -> Iterator[Table]:
    """List the page's tables."""
    for operation, version in (("CreateAutoMLJob", "V1"), ("CreateAutoMLJobV2", "V2")):
        yield Table(f"{operation} request", version, input_shape(operation), SAID)
        yield Table(f"{operation} answer", version, str(output_shape(operation)), READ)
    for operation, version in (("DescribeAutoMLJob", "V1"), ("DescribeAutoMLJobV2", "V2")):
        yield Table(f"{operation} request", version, input_shape(operation), LOOKED_UP)
        yield Table(f"{operation} answer", version, str(output_shape(operation)), READ)


class RuleRow(NamedTuple):
    """One row of the page of rules."""

    number: str
    version: str
    patterns: tuple[str, ...]
    seen_by: str
    broken: str


def rules() -> list[RuleRow]:
    """Read the page of rules."""
    rows = []
    for line in RULES.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" |")]
        if anchored := re.fullmatch(r'<a id="[rc]\d+"></a>([RC]\d+)', cells[0]):
            number, (version, where, _, seen_by, broken) = anchored[1], cells[1:]
            rows.append(RuleRow(number, version, tuple(re.findall(r"`([^`]+)`", where)), seen_by, broken))
    return rows


def rules_of(table: Table, path: str, rows: list[RuleRow]) -> str:
    """Link the rules that concern a field; those of answers only in answers' tables."""
    answers = table.title.endswith("answer")
    found = [
        f"[{row.number}](rules.md#{row.number.lower()})"
        for row in rows
        if row.version in ("both", table.version)
        and ("answer" in row.seen_by) <= answers
        and any(re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), path) for pattern in row.patterns)
    ]
    return " ".join(found)


def constraints(field: Field) -> str:
    """Say what the service model asks of a field."""
    shape, parts = field.shape, []
    lowest, highest = shape.get("min"), shape.get("max")
    if "enum" in shape:
        parts.append(", ".join(shape["enum"]))
    elif lowest is not None or highest is not None:
        parts.append(f"{'' if lowest is None else lowest}..{'' if highest is None else highest}")
    if "pattern" in shape:
        escaped = shape["pattern"].replace("|", "\\|")
        parts.append(f"`{escaped}`")
    if shape.get("union"):
        parts.append("exactly one member")
    return " ".join(parts)


def handled_by(table: Table, path: str) -> str:
    """Name who handles a field."""
    return next(text for pattern, text in table.handlers if re.fullmatch(pattern, path))


def render() -> str:
    """Return the page's text."""
    rows = rules()
    lines = [INTRODUCTION]
    for table in tables():
        found = list(fields(table.shape))
        lines.append(f"## {table.title}\n")
        lines.append(f"{len(found)} {'field' if len(found) == 1 else 'fields'}.\n")
        lines.append("| Field | Type | Constraints | Rules | Handled by |")
        lines.append("|---|---|---|---|---|")
        lines += [
            f"| `{field.path}`{'&#42;' if field.required else ''} | {field.shape['type']} | {constraints(field)} "
            f"| {rules_of(table, field.path, rows)} | {handled_by(table, field.path)} |"
            for field in found
        ]
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Write or compare the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is not current")
    args = parser.parse_args()
    text = render()
    if args.check:
        current = TARGET.exists() and TARGET.read_text(encoding="utf-8") == text
        print(f"{TARGET.name} is {'current' if current else 'not what the service model and the rules say'}")
        return 0 if current else 1
    TARGET.write_text(text, encoding="utf-8")
    print(f"wrote {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
