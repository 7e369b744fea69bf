"""Rows whose prompt matches a regular expression are removed. Only what the user says is looked at."""

import re

from orchestrator.stages.transform import rows_of
from orchestrator.stages.transforms import RowSet
from orchestrator.store.context import StageContext

VERSION = 1


def make(work: StageContext, rule: str) -> RowSet:
    kept, removed = [], []
    for row in rows_of(work.folder("data")):
        found = re.search(rule, row.prompt[-1]["content"])
        if found:
            removed.append(row.because(f"its prompt has {found[0]!r}"))
        else:
            kept.append(row)
    return RowSet(kept, removed)
