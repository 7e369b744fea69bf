"""The stage `logprobs`: log-probabilities of a sample's completions, or of training rows, under a model."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evaluators.analysis.logprobs import CompletionLogprobs, nll, requests_by_text, requests_by_token_ids
from evaluators.engines.generations import to_jsonl
from orchestrator.stages.sample import generations_of
from orchestrator.stages.transform import rows_of
from orchestrator.store.context import StageContext
from orchestrator.store.stage import Runtime, Stage
from orchestrator.study.schema import Study

VERSION = 1
LOGPROBS = "logprobs.jsonl"


@dataclass(frozen=True, kw_only=True)
class LogprobsSettings:
    """`by` says which tokens are scored: the token ids of a sample, or the text of rows, tokenized anew."""

    by: Literal["ids", "text"]
    dtype: str
    max_model_len: int | None


def stage(study: Study, model: Stage, student: Stage | None, data: Stage, by: Literal["ids", "text"]) -> Stage:
    """The completions of `data` under a model, or under `student`, trained from it."""
    inputs = {"base": model, "data": data} | ({} if student is None else {"student": student})
    return Stage(
        "logprobs",
        VERSION,
        f"{(student or model).name}-of-{data.name}",
        LogprobsSettings(by=by, dtype=study.dtype, max_model_len=study.max_model_len),
        inputs,
        Runtime(retries=study.resources.retries, engine=model.runtime.engine, uses_engine=True),
    )


def run(context: StageContext) -> dict[str, Any]:
    if context.stage.settings.by == "ids":
        generations = [one for one in generations_of(context.folder("data")) if one.completions[0].error is None]
        ids, requests = [one.id for one in generations], requests_by_token_ids(generations)
    else:
        rows = [row for row in rows_of(context.folder("data")) if row.answer]
        ids, requests = [row.id for row in rows], requests_by_text([row.chat for row in rows])
    if not ids:
        raise ValueError("every completion is empty or truncated, so there is none to score")
    found = {ids[place]: CompletionLogprobs.of(ids[place], one) for place, one in context.score(requests)}
    logprobs = [found[id] for id in ids]
    (context.out / LOGPROBS).write_text(to_jsonl(logprobs))
    nats = nll(logprobs)
    return {"n": len(logprobs), "nll": {part: nats.per_token(part).value for part in nats.classes}}


def logprobs_of(folder: Path) -> list[CompletionLogprobs]:
    """The log-probabilities in a finished stage's folder."""
    return [CompletionLogprobs(**json.loads(line)) for line in (folder / LOGPROBS).read_text().splitlines()]
