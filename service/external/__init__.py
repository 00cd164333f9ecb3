"""Engines that are other servers: a child of the replica, or one that runs elsewhere."""
