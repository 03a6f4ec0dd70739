"""The web UI: a page that uses the HTTP API."""
