"""Amazon SageMaker Autopilot for Apache Airflow, and an embedded Autopilot to run it anywhere."""

__version__ = "0.2.0"
