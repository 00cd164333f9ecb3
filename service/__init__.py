"""What runs in a replica: an HTTP API over an engine that holds a vision-language model."""

__version__ = "0.1.0"
