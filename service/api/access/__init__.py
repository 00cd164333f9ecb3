"""Who may ask for what, and how much of it: API keys and their limits."""

from service.api.access.grant import charge, client_of

__all__ = ["charge", "client_of"]
