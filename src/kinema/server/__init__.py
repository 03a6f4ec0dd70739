"""The HTTP server: the OpenAI Videos API, a job queue in SQLite, and worker processes."""
