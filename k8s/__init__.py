"""`capstan`, the rollout helper: what KubeRay will do with a change, whether it fits, whether it worked."""
