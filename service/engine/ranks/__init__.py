"""The processes of a model, one for each GPU, and what they and the replica send each other."""
