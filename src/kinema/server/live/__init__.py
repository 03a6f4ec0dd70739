"""Live videos: streams without end whose prompt may change at any time.

The API process (`sessions.py`) offers a session in the data folder; a free worker on the same machine takes
it (`worker_session.py`) and connects to it over loopback TCP. What was made is in the session's folder
(`recording.py`), so memory does not grow.
"""
