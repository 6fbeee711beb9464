"""Score a model on labelled rows: one way for endpoints and batch transforms, and for every problem type."""
