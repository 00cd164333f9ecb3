"""Untrusted image bytes: fetch, read, decode and cut them into tiles, or raise a clear error."""
