"""Appearance of simulated scenes: colours, materials, floors, skies and backgrounds."""
