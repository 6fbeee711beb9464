"""TextClassification jobs."""
