"""Measurements of offmodel itself; `python -m benchmarks.<name>` runs one and prints its figures."""
