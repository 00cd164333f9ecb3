"""What decides about a rollout: effects, room, failures, verdicts, checks. Pure."""
