"""Settings that were added when results were stored already."""

from dataclasses import field
from typing import Any

ADDED = "added"


def added(default: Any) -> Any:
    """A dataclass field that is left out of a stage's identity where it has this default.

    So a new setting that changes nothing by default keeps the addresses of stored stages; see
    orchestrator/store/stage.py.
    """
    return field(default=default, metadata={ADDED: True})
