"""Bodies of HTTP requests and responses, and how requests map onto `VideoRequest`."""
