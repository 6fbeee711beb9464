"""Scripts that run with a client's own Python: `script DATA`, with the service in the `AWS_` variables."""
