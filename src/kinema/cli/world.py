"""`kinema world`: film the set, look at it, audit it."""
