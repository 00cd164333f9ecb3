"""Bytes from outside become images and tiles, or a clear error."""
