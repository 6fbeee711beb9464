"""The algorithms of R58, each a :class:`~airflow_automl.local.engines.timeseries.algorithms.base.Forecaster`."""
