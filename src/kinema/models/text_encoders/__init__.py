"""Text encoders.

base.py     the protocol `TextEncoder` and its result `TextEmbeddings`
minilm.py   all-MiniLM-L6-v2, for our own models
umt5.py     UMT5, for Wan
"""
