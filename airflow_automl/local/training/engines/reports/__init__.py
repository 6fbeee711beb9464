"""What is told about the best candidate besides its metrics: why it predicts what it does, and where it errs."""
