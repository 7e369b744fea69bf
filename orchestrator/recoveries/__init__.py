"""What brings a student back, one file each.

A recovery method is a module of this package with `recover(cell, start, budget)`: the stage that trains the student of
`start` further, with `budget` of whatever the method spends (`SPENT`).
"""

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType

METHODS = tuple(module.name for module in pkgutil.iter_modules(__path__))


@cache
def module(method: str) -> ModuleType:
    return import_module(f"{__name__}.{method}")
