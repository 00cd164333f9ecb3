"""A rollout: observing a cluster and changing it."""
