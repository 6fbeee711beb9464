"""Helpers that run the embedded service for tests: the service, and a trainer that does what a test tells it."""
