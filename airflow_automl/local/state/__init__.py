"""What the service remembers: SQLite and the data folder."""
