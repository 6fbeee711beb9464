"""ENSEMBLING: AutoGluon's models and their weighted ensemble, each of them a candidate."""
