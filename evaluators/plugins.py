"""Packages in which each public module is a plug-in: a new file is all that a new plug-in needs."""

import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from evaluators.imports import IMPORTS
from evaluators.suggest import did_you_mean


@dataclass(frozen=True)
class Plugins:
    """The public modules of a package, by name. Modules are imported on first use.

    `package` is the dotted name of the package, `what` names one of its plug-ins in messages, such as "objective".
    `parts` are the names that each must define, `defaults` has those that it may leave out. Modules with a leading
    underscore are helpers and not plug-ins. Folders added to the package's `__path__` count.
    """

    package: str
    what: str
    parts: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def names(self) -> tuple[str, ...]:
        """The names of all plug-ins, sorted. Imports none of them."""
        return _public_modules(tuple(import_module(self.package).__path__))

    def module(self, name: str) -> ModuleType:
        """One plug-in. Raises ValueError, with a suggestion, for an unknown name, and for a file that lacks a part."""
        if name not in self.names():
            raise ValueError(f'there is no {self.what} "{name}"; {did_you_mean(name, self.names())}')
        with IMPORTS:
            module = import_module(f"{self.package}.{name}")
        missing = [part for part in self.parts if getattr(module, part, None) is None]
        if missing:
            raise ValueError(f"{module.__file__}: this {self.what} does not define {', '.join(missing)}")
        for part, default in self.defaults.items():
            vars(module).setdefault(part, default)
        return module

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())


@cache
def _public_modules(folders: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(one.name for one in pkgutil.iter_modules(folders) if not one.name.startswith("_")))
