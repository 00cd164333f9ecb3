"""A model on several GPUs: one process each, every layer divided among them."""
