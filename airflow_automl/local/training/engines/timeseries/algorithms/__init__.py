"""The algorithms of R58, each a ``Forecaster`` (``algorithms/base.py``)."""
