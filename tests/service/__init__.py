"""Helpers that run the embedded service for tests: the service, and a trainer that follows a test's script."""
