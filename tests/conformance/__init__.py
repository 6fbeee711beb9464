"""One sequence of calls, run against any endpoint of SageMaker's AutoML API, its answers recorded field by field.

``python -m tests.conformance --help`` says how to run it. It was written so that the embedded Autopilot can be compared
with AWS one day; until somebody does, the recording that ships here (``embedded.json``) is the embedded one's alone.
"""
