"""Removes rows whose user message matches a regular expression."""

import re

from orchestrator.stages.transform import rows_of
from orchestrator.stages.transforms import RowSet
from orchestrator.store.context import StageContext

VERSION = 1


def apply(context: StageContext, rule: str) -> RowSet:
    kept, removed = [], []
    for row in rows_of(context.folder("data")):
        found = re.search(rule, row.prompt[-1]["content"])
        if found:
            removed.append(row.with_reason(f"its prompt has {found[0]!r}"))
        else:
            kept.append(row)
    return RowSet(kept, removed)
