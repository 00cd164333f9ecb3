"""The checks of `capstan doctor`, by subject: objects of the API in, findings out. Pure."""
