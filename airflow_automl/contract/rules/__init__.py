"""The static rules of AutoML requests that the service model does not state: one function each, in one table."""

from airflow_automl.contract.rules.table import RULES, Rule, violations

__all__ = ["RULES", "Rule", "violations"]
