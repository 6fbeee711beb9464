"""The S3 store and its client."""
