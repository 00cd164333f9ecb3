"""Decisions about a rollout: what a change does, whether it fits, whether it is done. Pure."""
