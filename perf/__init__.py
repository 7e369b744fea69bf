"""Measurements of offmodel itself; `python -m perf.NAME` runs one and prints its figures."""
