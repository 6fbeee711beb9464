"""The production stack: what docker-compose.yaml says, checked, and run without a container engine."""
