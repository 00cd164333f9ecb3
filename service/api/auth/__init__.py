"""API keys and their limits: who may send requests, and how many."""
