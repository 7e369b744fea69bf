"""A simulated week of a study on spot nodes (perf/spot_week.py)."""
