"""The stage `sample`: a model answers the training prompts."""

import json
from pathlib import Path
from typing import Any

from evaluators.engine import Decoding
from orchestrator import data
from orchestrator.stage import Stage
from orchestrator.study import Prompts, Study
from orchestrator.work import Work

VERSION = 1
ANSWERS = "answers.jsonl"


def stage(model: Stage, study: Study) -> Stage:
    """The answers of a model, as it is, to the study's prompts."""
    return Stage(
        "sample",
        VERSION,
        f"{model.name}-answers",
        {
            "prompts": data.prompts_identity(study.prompts),
            "decoding": study.sampling.model_dump(),
            "dtype": study.dtype,
            "context": study.context,
        },
        {"base": model},
        {
            "prompts": study.prompts.model_dump(),
            "retries": study.resources.retries,
            "engine": model.runtime["engine"],
        },
    )


def run(work: Work) -> dict[str, Any]:
    chats = data.read_prompts(Prompts(**work.stage.runtime["prompts"]))
    decoding = Decoding(**work.stage.settings["decoding"])
    replies = work.ask(work.stage.runtime["engine"], work.weights, chats, decoding, None)
    answers = [reply.answers[0] for reply in replies]
    with open(work.out / ANSWERS, "w") as file:
        for chat, answer in zip(chats, answers, strict=True):
            row = {"prompt": chat, "text": answer.text, "ids": answer.ids, "cut_off": answer.cut_off}
            file.write(json.dumps(row) + "\n")
    return {
        "n": len(answers),
        "tokens": sum(len(answer.ids) for answer in answers),
        "cut_off": sum(answer.cut_off for answer in answers) / len(answers),
    }


def read_chats(folder: Path) -> list[list[dict[str, str]]]:
    """Whole chats, for training. An answer that the token limit cut off is left out: it would teach a false end."""
    rows = [json.loads(line) for line in (folder / ANSWERS).read_text().splitlines()]
    return [[*row["prompt"], {"role": "assistant", "content": row["text"]}] for row in rows if not row["cut_off"]]
