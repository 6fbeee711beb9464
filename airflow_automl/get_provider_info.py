"""What Airflow's provider discovery reads. It imports nothing: every Airflow process loads this module."""


def get_provider_info():  # type: ignore[no-untyped-def]
    """Describe this package to Airflow."""
    service = "Amazon SageMaker Autopilot"

    def modules(package: str, *names: str) -> list[dict[str, object]]:
        paths = [f"airflow_automl.{package}.{name}" for name in names]
        return [{"integration-name": service, "python-modules": paths}]

    return {
        "package-name": "airflow-automl",
        "name": service,
        "description": "Submit, wait for, judge, deploy and report Amazon SageMaker AutoML jobs.",
        "versions": ["0.2.0", "0.1.0"],
        "integrations": [
            {
                "integration-name": service,
                "external-doc-url": "https://docs.aws.amazon.com/sagemaker/latest/dg/autopilot-automate-model-development.html",
                "tags": ["aws"],
            }
        ],
        "operators": modules(
            "operators",
            *("approve", "candidates", "delete_endpoint", "deploy", "evaluate", "gate", "job", "register", "report"),
            *("retrain", "rollback", "stop", "transform"),
        ),
        "sensors": modules("sensors", "sagemaker_automl"),
        "hooks": modules("hooks", "sagemaker_automl", "sagemaker_deployment"),
        "triggers": modules("triggers", "event", "job", "resource", "slot"),
        "notifications": ["airflow_automl.notifications.SageMakerAutoMLNotifier"],
        "extra-links": [
            "airflow_automl.links.sagemaker_automl.AutoMLJobConsoleLink",
            "airflow_automl.links.sagemaker_automl.AutoMLJobLogsLink",
            "airflow_automl.links.sagemaker_automl.AutoMLReportLink",
        ],
        "config": {
            "automl": {
                "description": "Amazon SageMaker AutoML jobs (the airflow-automl package).",
                "options": {
                    "poll_interval": {
                        "description": "Seconds between two polls of a job, if a task sets no poll_interval.",
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": "60",
                        "default": "30",
                    },
                    "max_runtime": {
                        "description": (
                            "The longest run time of any AutoML job, in seconds. It becomes the\n"
                            "MaxAutoMLJobRuntimeInSeconds of requests that set none or a higher one.\n"
                            "Without it, a job without a limit can run, and cost, for 30 days.\n"
                        ),
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": "14400",
                        "default": None,
                    },
                    "deployment": {
                        "description": (
                            "A name that distinguishes this Airflow from others that use the same AWS account.\n"
                            "It is part of every derived job name, and must be the same on all machines.\n"
                            "By default, ``[api] base_url``.\n"
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "staging",
                        "default": None,
                    },
                    "manual_dag": {
                        "description": (
                            "The DAG that the AutoML pages of the web interface start with a job's configuration\n"
                            "filled in. Its params are those of the example DAG ``manual_automl``.\n"
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "train_anything",
                        "default": "manual_automl",
                    },
                    "max_calls_per_second": {
                        "description": (
                            "How many jobs per second a triggerer describes at most, for all tasks that wait through\n"
                            "one connection. The limit is only reached if many jobs end together, or if list calls\n"
                            "are denied. Throttling by the service lowers the rate for a while.\n"
                        ),
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": "5",
                        "default": "20",
                    },
                    "prices": {
                        "description": (
                            "Prices per hour, as JSON: ``default``, and names of problem types such as\n"
                            "``TextGeneration``, of training one candidate; ``job`` of the job itself; ``currency``\n"
                            "names the currency.\n"
                            "``automl.prices`` in the extra of an AWS connection replaces it.\n"
                        ),
                        "version_added": "0.2.0",
                        "type": "string",
                        "example": '{"currency": "USD", "job": 0.23, "default": 2.30, "TextGeneration": 7.09}',
                        "default": None,
                    },
                },
            }
        },
    }
