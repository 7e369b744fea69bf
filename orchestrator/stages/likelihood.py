"""The stage `likelihood`: how likely a model finds the answers of a sample."""

from pathlib import Path
from typing import Any

from evaluators.asked import to_lines
from evaluators.likelihood import Scored, mean_nll, parts_of, read_scored, requests_of, scored
from orchestrator.stage import Stage
from orchestrator.stages.sample import answers_of
from orchestrator.study import Study
from orchestrator.work import Work

VERSION = 1
LIKELIHOODS = "likelihoods.jsonl"


def stage(study: Study, model: Stage, student: Stage | None, data: Stage, by_ids: bool) -> Stage:
    """The answers of the sample `data` under a model (or `student`, trained from it), by their token ids or text."""
    inputs = {"base": model, "data": data} | ({} if student is None else {"student": student})
    return Stage(
        "likelihood",
        VERSION,
        f"{(student or model).name}-of-{data.name}",
        {"by": "ids" if by_ids else "text", "dtype": study.dtype, "context": study.context},
        inputs,
        {"retries": study.resources.retries, "engine": model.runtime["engine"]},
    )


def run(work: Work) -> dict[str, Any]:
    by_ids = work.stage.settings["by"] == "ids"
    answered = answers_of(work.folder("data"))
    if not by_ids:  # Data for training, of which answers that were cut off, or are empty, are no part.
        answered = [one for one in answered if one.answers[0].text and not one.answers[0].cut_off]
    if not answered:
        raise ValueError("every answer is empty or was cut off, so there is none whose likelihood could be told")
    found: dict[str, Scored] = {}
    for chunk in work.ask("likelihood", requests_of(answered, by_ids)):
        found |= {answered[place].id: scored(answered[place].id, one) for place, one in chunk}
    rows = [found[one.id] for one in answered]
    (work.out / LIKELIHOODS).write_text(to_lines(rows))
    return {"n": len(rows), "nll": {part: mean_nll(rows, part).value for part in parts_of(rows)}}


def likelihoods_of(folder: Path) -> list[Scored]:
    return read_scored(folder / LIKELIHOODS)
