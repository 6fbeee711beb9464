"""The two notebooks of a tabular job: what its data looks like, and which candidates it defines."""
