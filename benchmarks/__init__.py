"""Benchmarks of Kinema against peers and against its own bounds: `python -m benchmarks --help`."""
