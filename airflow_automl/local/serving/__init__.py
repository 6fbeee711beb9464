"""Endpoints, invocations and batch transform."""
