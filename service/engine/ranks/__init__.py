"""The program of a rank, and what it and the replica send each other."""
