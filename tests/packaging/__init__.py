"""What is built and installed: the wheel, the sdist, the provider's metadata."""
