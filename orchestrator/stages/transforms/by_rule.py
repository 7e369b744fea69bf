"""Removes rows whose user message matches a regular expression."""

import re

from orchestrator.stages.transform import rows_of
from orchestrator.stages.transforms import RowSet
from orchestrator.store.context import StageContext

VERSION = 1


def apply(context: StageContext, rule: str) -> RowSet:
    rows = []
    for row in rows_of(context.folder("data")):
        found = re.search(rule, row.prompt[-1]["content"])
        rows.append(row.with_reason(f"its prompt has {found[0]!r}") if found else row)
    return RowSet.by_reason(rows)
