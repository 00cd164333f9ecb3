"""Conversations become token ids; token ids become text, and text becomes reasoning, content and calls."""
