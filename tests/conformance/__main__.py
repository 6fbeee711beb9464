"""``python -m tests.conformance``: record how an endpoint answers, and compare it with a recording."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from tests.conformance.recording import Recording, differences
from tests.conformance.sequence import Sequence, Settings

EMBEDDED = Path(__file__).with_name("embedded.json")

_EPILOG = f"""
examples:
  the embedded Autopilot, in an environment as `airflow-automl env` prints it:
    python -m tests.conformance --endpoint "$AWS_ENDPOINT_URL" --compare {EMBEDDED.name}
  AWS, with the credentials of a profile (jobs are stopped as soon as they are described; small data is uploaded):
    python -m tests.conformance --endpoint aws --profile ml --region us-east-1 \\
        --role arn:aws:iam::123456789012:role/AutoML --bucket my-bucket --record aws.json --compare {EMBEDDED.name}
  two recordings:
    python -m tests.conformance --recorded aws.json --compare {EMBEDDED.name}
"""


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 if nothing differs (or nothing is compared), 1 if something does, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance",
        description=(__doc__ or "").strip(),
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--endpoint", help="address of the SageMaker API, or 'aws' for AWS's own")
    source.add_argument("--recorded", type=Path, metavar="FILE", help="take this recording instead of an endpoint")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write the answers to this file")
    parser.add_argument(
        "--compare", type=Path, metavar="FILE", help=f"compare with this recording ({EMBEDDED.name} ships with this)"
    )
    parser.add_argument("--s3-endpoint", metavar="URL", help="by default AWS_ENDPOINT_URL_S3, or AWS's own")
    parser.add_argument("--profile", help="profile of the credentials; by default boto3's usual sources")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--role", default="arn:aws:iam::123456789012:role/service-role/AutoML-Execution")
    parser.add_argument("--bucket", default="airflow-automl", help="created on loopback endpoints if it is missing")
    parser.add_argument("--prefix", default="conformance", help="key prefix of data and results")
    parser.add_argument("--train", action="store_true", help="also let one small job train to its end (costs money)")
    parser.add_argument("--timeout", type=float, default=900, metavar="SECONDS", help="how long jobs may take to stop")
    args = parser.parse_args(arguments)

    compared = _load(parser, args.compare) if args.compare else None
    recording = _load(parser, args.recorded) if args.recorded else _run(args)
    if args.record:
        recording.save(args.record)
        _say(f"recorded {len(recording.calls)} calls in {args.record}")
    if compared is None:
        return 0
    found = differences(recording, compared)
    for line in found:
        print(line)
    verdict = f"{len(found)} differences" if found else "no difference"
    _say(f"{len(recording.calls)} calls, {verdict} from {compared.about.get('endpoint')} ({args.compare})")
    return 1 if found else 0


def _load(parser: argparse.ArgumentParser, path: Path) -> Recording:
    chosen = EMBEDDED if not path.exists() and path.name == str(path) == EMBEDDED.name else path
    try:
        return Recording.load(chosen)
    except (OSError, ValueError) as error:
        parser.error(str(error))


def _run(args: argparse.Namespace) -> Recording:
    aws = args.endpoint == "aws"
    endpoint = None if aws else args.endpoint
    session = boto3.Session(profile_name=args.profile, region_name=args.region)
    local = endpoint is not None and urlsplit(endpoint).hostname in {"127.0.0.1", "localhost", "::1"}
    # A loopback endpoint without configured keys accepts any key; boto3 needs one to sign with.
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    keys = keys if local and session.get_credentials() is None else {}
    # Every answer is recorded unchanged, also that to an invalid request. Only throttled calls are retried.
    config = Config(parameter_validation=False, retries={"mode": "adaptive", "total_max_attempts": 8})
    client = session.client("sagemaker", endpoint_url=endpoint, config=config, **keys)
    s3 = session.client("s3", endpoint_url=args.s3_endpoint, **keys)
    if local and args.bucket not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=args.bucket)
    settings = Settings(args.role, args.bucket, args.prefix, args.train, args.timeout)
    return Sequence(settings, client, s3, _say).record()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
