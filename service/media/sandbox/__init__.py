"""Decode images in separate processes, so that a hostile file harms only its own request."""
