"""The doors to what lies outside: the API server, pods, helm and kubectl."""
