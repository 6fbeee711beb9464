"""Subcommands of ``airflow-automl`` that serve or inspect the embedded Autopilot."""
