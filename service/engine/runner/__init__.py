"""Ways of running a model, and the memory that they take."""
