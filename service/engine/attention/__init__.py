"""Attention of packed tokens over a paged key-value cache: one interface, a backend for each device."""
