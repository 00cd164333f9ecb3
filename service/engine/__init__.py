"""The engine: from conversations to text on the devices of one replica. Knows neither Ray nor HTTP."""
