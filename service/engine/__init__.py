"""What the ranks of a model do: step after step, choose tokens of sequences, compute them and sample."""
