"""The stage `likelihood`: how likely a model finds the answers of a sample, or of rows made of one."""

from pathlib import Path
from typing import Any, Literal

from evaluators.analysis.logprobs import CompletionLogprobs, by_ids, by_text, mean_nll, parts_of, read_logprobs, scored
from evaluators.engines.generations import to_jsonl
from orchestrator.stages.sample import answers_of
from orchestrator.stages.transform import rows_of
from orchestrator.store.context import StageContext
from orchestrator.store.stage import Stage
from orchestrator.study.schema import Study

VERSION = 1
LIKELIHOODS = "likelihoods.jsonl"


def stage(study: Study, model: Stage, student: Stage | None, data: Stage, by: Literal["ids", "text"]) -> Stage:
    """The answers of `data` under a model (or `student`, trained from it): by text, or by a sample's token ids."""
    inputs = {"base": model, "data": data} | ({} if student is None else {"student": student})
    return Stage(
        "logprobs",
        VERSION,
        f"{(student or model).name}-of-{data.name}",
        {"by": by, "dtype": study.dtype, "max_model_len": study.max_model_len},
        inputs,
        {"retries": study.resources.retries, "engine": model.runtime["engine"]},
    )


def run(work: StageContext) -> dict[str, Any]:
    if work.stage.settings["by"] == "ids":
        answered = answers_of(work.folder("data"))
        ids, requests = [one.id for one in answered], by_ids(answered)
    else:
        rows = [row for row in rows_of(work.folder("data")) if row.answer]
        ids, requests = [row.id for row in rows], by_text([row.chat for row in rows])
    if not ids:
        raise ValueError("every answer is empty or was cut off, so there is none whose likelihood could be told")
    found: dict[str, CompletionLogprobs] = {}
    for chunk in work.ask("score", requests):
        found |= {ids[place]: scored(ids[place], one) for place, one in chunk}
    told = [found[id] for id in ids]
    (work.out / LIKELIHOODS).write_text(to_jsonl(told))
    return {"n": len(told), "nll": {part: mean_nll(told, part).value for part in parts_of(told)}}


def likelihoods_of(folder: Path) -> list[CompletionLogprobs]:
    return read_logprobs(folder / LIKELIHOODS)
