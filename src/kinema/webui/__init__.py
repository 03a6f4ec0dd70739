"""The page: a client of the HTTP API, nothing more."""
