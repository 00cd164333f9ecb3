"""Clients for what runs outside this process: the API server, pods, helm and kubectl."""
