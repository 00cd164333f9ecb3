"""One address for several models: requests to /v1 reach the model that they name."""
