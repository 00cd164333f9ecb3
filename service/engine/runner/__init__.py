"""Ways of running a model, behind one protocol."""
