"""Measurements against peers, as ratios from one run."""
