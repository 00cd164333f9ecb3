"""What the helper reads of a cluster, as frozen values. Pure."""
