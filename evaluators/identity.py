"""Settings that were added when results were stored already.

A dataclass field with the metadata ADDED is left out of a stage's identity where it has its default. So a setting which
changes nothing by default keeps the addresses of stored stages; see orchestrator/store/stage.py.
"""

from types import MappingProxyType

ADDED = MappingProxyType({"added": True})
