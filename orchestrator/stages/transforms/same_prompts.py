"""Keeps the rows whose prompt another source has answered too, so that the answers of both can be compared.

Inputs: `data`, and `other`, a sample or data set. Prompts are compared by their text, without system messages.
"""

import json

from evaluators.engines.chat_template import Chat
from orchestrator.stages.transform import rows_of
from orchestrator.stages.transforms import RowSet
from orchestrator.store.context import StageContext

VERSION = 1


def apply(context: StageContext) -> RowSet:
    answered = {_text(row.prompt) for row in rows_of(context.folder("other"))}
    rows = rows_of(context.folder("data"))
    return RowSet.by_reason([r if _text(r.prompt) in answered else r.with_reason("not answered by both") for r in rows])


def _text(prompt: Chat) -> str:
    return json.dumps([message for message in prompt if message["role"] != "system"], sort_keys=True)
