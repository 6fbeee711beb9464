"""ImageClassification jobs."""
