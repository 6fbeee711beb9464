"""Running AutoML jobs: the supervisor, trainer events and executors."""
