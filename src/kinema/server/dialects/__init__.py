"""Dialects of video APIs, a module for each: its fields become those of Kinema's API, a job its response.

Nothing behind these modules knows which dialect a client uses.
"""
