"""Clients that others wrote, against the embedded Autopilot."""
