"""One engine per problem family behind one small interface (:mod:`airflow_automl.local.training.engines.base`)."""
