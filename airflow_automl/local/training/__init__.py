"""The trainer: a process per job, its data and its engines."""
