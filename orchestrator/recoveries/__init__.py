"""What brings a student back, one file each.

A recovery method is a module of this package with

- `SPENT`: what a budget counts;
- `recover(cell, start, budget, recovery)`: the stage that trains the student of `start` further, with `budget` of that,
  as a study's `recovery` has it.

A study names its recoveries as it likes: the same method may be tried in several ways.
"""

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType

from orchestrator.study.suggest import did_you_mean

METHODS = tuple(module.name for module in pkgutil.iter_modules(__path__))


@cache
def module(method: str) -> ModuleType:
    """The module of a method. Raises ValueError, with the nearest, for one that does not exist."""
    if method not in METHODS:
        raise ValueError(f'method: there is no method "{method}"; {did_you_mean(method, METHODS)}')
    return import_module(f"{__name__}.{method}")
