from tests.local_s3 import bucket, s3_endpoint

__all__ = ["bucket", "s3_endpoint"]
