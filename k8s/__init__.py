"""The rollout helper: what KubeRay will do with a change, whether it can, and whether it did."""
