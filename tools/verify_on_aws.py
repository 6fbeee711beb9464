"""Answer, on your own AWS account, what docs/not-verified-on-aws.md leaves open.

    python tools/verify_on_aws.py --bucket BUCKET --role ROLE_ARN [--profile NAME] [--region REGION] [--train]

1. Records the conformance sequence (``tests/conformance``): it creates small jobs of both versions and of each problem
   type, asks about them in every way, breaks rules on purpose, stops the jobs and removes its data. A stopped job costs
   next to nothing; ``--train`` lets one small job train to its end, which costs about what an hour of a large instance
   does.
2. Compares the answers, field by field, with those of the embedded Autopilot.
3. Says for each open question what was answered, and what the embedded Autopilot answers.

``--recorded FILE`` does 2 and 3 with a recording that was made before. It ends with 1 if anything differs. The
recording (``aws.json``) holds no account number, and is what a bug report should have. See first that the account is
ready: ``airflow-automl doctor``.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.conformance.__main__ import EMBEDDED  # noqa: E402
from tests.conformance.__main__ import main as conformance  # noqa: E402
from tests.conformance.recording import Call, Recording, differences  # noqa: E402


class Question(NamedTuple):
    """A row of the page, and the calls of the sequence that answer it.

    :param topic: the row's first cell.
    :param calls: a pattern of the calls' labels.
    :param fields: a pattern of the members that matter; all are compared anyway.
    """

    topic: str
    calls: str
    fields: str = r"(?!)"


#: One for each row of the page that a sequence of calls can answer.
QUESTIONS = (
    Question(
        "pairs and order of status and secondary status",
        r"/(describe|describe stopped|train/.*)$",
        r"AutoMLJob(Secondary)?Status$",
    ),
    Question("`Completed/MaxAutoMLJobRuntimeReached` without a best candidate", r"train/.*", r"Status$|BestCandidate$"),
    Question("error code of `DescribeAutoMLJob` for a V2 job", r"^V2 .*/describe by the other version$"),
    Question("error codes of rejected requests", r"^(rejected|rule|invalid|error).*"),
    Question("reuse of a finished job's name", r"/create (again|in capitals|after the stop)$"),
    Question("`StopAutoMLJob` on a finished job", r"/stop again$"),
)


def answers(recording: Recording, question: Question) -> Iterator[str]:
    """What a recording says to a question, each answer once, with how often it was given."""
    seen: dict[str, int] = {}
    for call in recording.calls:
        if re.search(question.calls, call.label):
            said = _said(call, question)
            seen[said] = seen.get(said, 0) + 1
    for said, count in sorted(seen.items()):
        yield f"{said}  ({count} of {sum(seen.values())})"


def _said(call: Call, question: Question) -> str:
    if call.error:
        return f"HTTP {call.status} {call.error}"
    shown = [f"{path}={value}" for path, value in sorted(call.fields.items()) if re.search(question.fields, path)]
    return " ".join([f"HTTP {call.status}", *shown])


def report(recording: Recording, embedded: Recording) -> Iterator[str]:
    """The lines of the report."""
    for question in QUESTIONS:
        yield f"\n{question.topic}"
        for name, source in (("asked", recording), ("embedded", embedded)):
            found = list(answers(source, question))
            for line in found or ["no call of the sequence answers it (--train?)"]:
                yield f"  {name:<9}{line}"
    found = differences(recording, embedded)
    yield f"\n{len(found)} differences in {len(recording.calls)} calls"
    yield from (f"  {line}" for line in found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Record, compare, answer."""
    parser = argparse.ArgumentParser(
        prog="python tools/verify_on_aws.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recorded", type=Path, metavar="FILE", help="use this recording; nothing is called")
    parser.add_argument("--record", type=Path, default=Path("aws.json"), metavar="FILE", help="(default: %(default)s)")
    parser.add_argument("--endpoint", default="aws", help="another endpoint than AWS's own")
    parser.add_argument("--bucket", help="your own bucket in the region; objects are put below conformance/")
    parser.add_argument("--role", help="the ARN of a role that SageMaker may assume")
    parser.add_argument("--profile", help="of the AWS credentials; by default boto3's usual sources")
    parser.add_argument("--region", default="us-east-1", help="(default: %(default)s)")
    parser.add_argument("--train", action="store_true", help="let one small job train to its end (costs money)")
    args = parser.parse_args(arguments)
    path = args.recorded
    if path is None:
        if not args.bucket or not args.role:
            parser.error("--bucket and --role are needed, unless --recorded is given")
        path = args.record
        options = ["--endpoint", args.endpoint, "--bucket", args.bucket, "--role", args.role, "--region", args.region]
        options += ["--profile", args.profile] if args.profile else []
        conformance([*options, *(["--train"] if args.train else []), "--record", str(path)])
    recording, embedded = Recording.load(path), Recording.load(EMBEDDED)
    for line in report(recording, embedded):
        print(line)
    return 1 if differences(recording, embedded) else 0


if __name__ == "__main__":
    sys.exit(main())
