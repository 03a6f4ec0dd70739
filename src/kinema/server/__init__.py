"""The HTTP server: the OpenAI Videos API over durable jobs, and workers that make the films."""
