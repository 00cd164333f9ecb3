"""`capstan caption`: sends images to a server and keeps their captions. Knows only the HTTP API."""
