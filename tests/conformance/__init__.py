"""One sequence of calls, run against any endpoint of SageMaker's AutoML API, with its answers recorded field by field.

``python -m tests.conformance --help`` says how to run it. It was written so that the embedded Autopilot can be compared
with AWS. Until AWS has been recorded, the only recording here (``embedded.json``) is that of the embedded Autopilot.
"""
