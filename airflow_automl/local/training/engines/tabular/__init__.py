"""Tabular problem types."""
