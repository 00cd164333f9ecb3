"""A rollout from its plan to its end: what looks at a cluster and what changes it."""
