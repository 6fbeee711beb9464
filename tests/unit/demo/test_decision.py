"""The demo's output for a run that decides not to train."""

from __future__ import annotations

import pytest

from airflow_automl import demo
from airflow_automl.demo.stack import DemoFailed

KEPT = (
    "The model is kept, candidate c-1 at endpoint churn: AUC 0.8312 (0.8107 to 0.8498), evaluated on 1409 rows of "
    "s3://acme-ml/churn/labelled/, against 0.8471 at deployment is not a significant drop."
)


def test_the_sentence_of_the_decision_is_found_in_airflows_log() -> None:
    log = f"2026-11-28T12:56:10Z [info     ] Starting\n2026-11-28T12:56:11Z [info     ] {KEPT} [airflow.task] loc=x:1\n"
    assert demo._decision(log) == KEPT
    assert demo._decision(f"\x1b[32m{KEPT}\x1b[0m\n") == KEPT


def test_a_second_run_that_trained_fails_the_demo() -> None:
    with pytest.raises(DemoFailed, match="did not keep the model"):
        demo._decision("Training is needed: endpoint churn serves no model yet.")
