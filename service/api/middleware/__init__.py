"""ASGI middlewares that apply to every route."""
