"""The embedded Autopilot: a local service that speaks the API of Amazon SageMaker Autopilot and trains for real."""
