"""Checkpoints: where they lie, in which layout, whether they are whole, and how they get into memory."""
