"""How much data a job may have and must have; the sizes are what S3 says, so that no test needs 100 GB."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pandas as pd
import pytest
from botocore.config import Config

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data import channels, dataset
from airflow_automl.local.training.data.store import Store
from tests.local_s3 import Bucket

GIB = 1 << 30


@pytest.fixture
def claimed():
    """A store that lists two objects under every prefix, as large as ``sizes`` says for the prefix."""
    sizes = {}

    class Listing(BaseHTTPRequestHandler):
        def do_GET(self):
            kind = "val" if "val" in self.path else "train"
            entries = [(f"{kind}/1.csv", sizes[kind] - 1), (f"{kind}/2.csv", 1)]
            contents = "".join(f"<Contents><Key>{key}</Key><Size>{size}</Size></Contents>" for key, size in entries)
            body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>".encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{server.server_address[1]}",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )

    def resolve(train, val):
        sizes.update(train=train, val=val)
        return channels.resolve(Store(client), [channel("train", "training"), channel("val", "validation")])

    yield resolve
    server.shutdown()
    thread.join()
    server.server_close()


def channel(prefix, kind):
    return {
        "ChannelType": kind,
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://automl/{prefix}/"}},
    }


def test_all_objects_of_a_channel_together_stay_below_its_limit(claimed):
    found = claimed(100 * GIB - 1, 2 * GIB - 1)
    assert (found.training.size, found.validation.size) == (100 * GIB - 1, 2 * GIB - 1)
    with pytest.raises(JobFailure, match=r"training data at s3://automl/train/ has 100.0 GiB; it must have less"):
        claimed(100 * GIB, 5)
    with pytest.raises(JobFailure, match=r"validation data at s3://automl/val/ has 2.0 GiB; it must have less than 2"):
        claimed(5, 2 * GIB)


@pytest.mark.parametrize(("rows", "enough"), [(499, False), (500, True)])
def test_training_takes_five_hundred_rows(bucket: Bucket, tmp_path, rows, enough):
    frame = pd.DataFrame({"x": range(rows), "y": [row % 2 for row in range(rows)]})
    uri = bucket.put("in/train.csv", frame)
    source = {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}}
    request = {
        "AutoMLJobInputDataConfig": [source],
        "AutoMLProblemTypeConfig": {"TabularJobConfig": {"TargetAttributeName": "y"}},
    }
    found = channels.resolve(bucket.store, [source])
    if enough:
        data = dataset.load(bucket.store, found, request, "ENSEMBLING", tmp_path / "in")
        assert len(data.train) + len(data.validation) == rows
    else:
        with pytest.raises(JobFailure, match="has 499 rows; at least 500 are needed"):
            dataset.load(bucket.store, found, request, "ENSEMBLING", tmp_path / "in")
