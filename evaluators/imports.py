"""One lock for the imports inside functions, which two threads of a process may reach at once.

Python locks each module by itself. Two threads that import a package whose modules import each other, such as
scikit-learn, can each hold a module that the other one needs. Python then gives one of them a module that is half
imported, and the import fails: "cannot import name ... from partially initialized module".

    with IMPORTS:
        from sklearn.pipeline import make_pipeline
"""

from threading import RLock

IMPORTS = RLock()  # re-entrant: what is imported under it may import under it
