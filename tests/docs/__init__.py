"""What the documentation says, run and compared with the code."""
