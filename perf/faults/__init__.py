"""Faults on purpose: processes that are killed or stopped, stores that fail, and a check that nothing was lost."""
