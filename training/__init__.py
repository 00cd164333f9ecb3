"""Training of the embedded checkpoint."""
