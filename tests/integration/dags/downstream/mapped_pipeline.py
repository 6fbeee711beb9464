"""One pipeline for each of two targets: churn is predictable from the data; gender is not."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_automl.contract import tabular
from airflow_automl.demo import dataset
from airflow_automl.pipeline import automl_pipeline

with DAG("mapped_pipeline", schedule=None):
    automl_pipeline(
        over=[
            {
                "config": tabular(
                    f"{dataset.FOLDER}/train/",
                    target=target,
                    problem_type="BinaryClassification",
                    objective="AUC",
                    mode="ENSEMBLING",
                    max_candidates=2,
                    max_runtime=60,
                ),
                "endpoint_name": f"mapped-{target.lower()}",
                "report_path": f"s3://{dataset.BUCKET}/mapped/{target}/",
            }
            for target in (dataset.TARGET, "female")
        ],
        group_id="each",
        evaluation_data=f"{dataset.FOLDER}/labelled/",
        require={"objective": 0.7},
        options={"train": {"max_cost": {"run": 10, "month": 100}}, "challenger": {"max_rows": 200}},
        poll_interval=1,
    )
