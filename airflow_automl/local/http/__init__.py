"""The wire protocol: requests, signatures, and the services around SageMaker."""
