"""The kinds of stages, one file each. A kind has a `VERSION` (raise it when the code gives other results), a function
`stage(...)` that declares one, and `run(work)`, which leaves files in `work.out` and returns the facts for the record.
"""
