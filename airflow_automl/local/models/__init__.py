"""What a trained artefact is, and the process that predicts with it."""
