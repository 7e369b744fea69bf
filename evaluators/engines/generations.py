"""Generations: prompts with a model's completions, stored as JSON lines so that they can be graded, and regraded."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Self

from evaluators.engines.chat_template import Chat
from evaluators.engines.requests import Completion, RequestOutput, Usage


@dataclass(frozen=True, kw_only=True)
class LmEvalGrade:
    """The lm-eval task that an example belongs to, its score, and all of its numeric metrics by "name,filter"."""

    task: str
    score: float
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One prompt with a model's completions.

    Every completion begins with `prefill_token_ids`. `prompt_opens_think_block`: the prompt ends inside a `<think>`
    block. `lm_eval` is the grade of an example of an lm-eval task, which lm-eval grades itself.
    """

    id: str
    prompt: Chat
    completions: tuple[Completion, ...]
    prompt_token_ids: tuple[int, ...] = ()
    prefill_token_ids: tuple[int, ...] = ()
    prompt_opens_think_block: bool = False
    lm_eval: LmEvalGrade | None = None

    @classmethod
    def of(cls, id: str, prompt: Chat, output: RequestOutput) -> Self:
        """The generation of an engine's output for `prompt`."""
        return cls(
            id=id,
            prompt=prompt,
            prompt_token_ids=output.prompt_token_ids,
            prefill_token_ids=output.prefill_token_ids,
            completions=output.completions,
            prompt_opens_think_block=output.prompt_opens_think_block,
        )


def sampled_tokens(generations: Iterable[Generation]) -> int:
    """How many tokens were sampled: those of all completions without their prefills."""
    return sum(c.length - len(g.prefill_token_ids) for g in generations for c in g.completions)


def failed(generations: Iterable[Generation]) -> list[tuple[str, str]]:
    """Each completion that failed, as (id of its prompt, reason)."""
    return [(g.id, c.error) for g in generations for c in g.completions if c.error is not None]


def content_ids(contents: Iterable[Any]) -> list[str]:
    """An id for each JSON value, derived from its content alone; repeated values get a numbered suffix."""
    seen: Counter[str] = Counter()
    ids = []
    for content in contents:
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
        seen[digest] += 1
        ids.append(digest if seen[digest] == 1 else f"{digest}-{seen[digest]}")
    return ids


def to_jsonl(examples: Iterable[Any]) -> str:
    """Dataclasses as JSON lines. A field `error` is left out where there is none."""
    return "".join(json.dumps(asdict(example, dict_factory=_without_no_error)) + "\n" for example in examples)


def _without_no_error(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in items if name != "error" or value is not None}


def from_jsonl(text: str) -> list[Generation]:
    """The generations that `to_jsonl` wrote."""
    return [_generation(json.loads(line)) for line in text.splitlines()]


def _generation(row: dict) -> Generation:
    ids = {name: tuple(row[name]) for name in ("prompt_token_ids", "prefill_token_ids")}
    completions = tuple(_completion(completion) for completion in row["completions"])
    lm_eval = row["lm_eval"] and LmEvalGrade(**row["lm_eval"])
    return Generation(**{**row, **ids, "completions": completions, "lm_eval": lm_eval})


def _completion(row: dict) -> Completion:
    tuples = {name: tuple(row[name]) for name in ("token_ids", "option_logprobs")}
    return Completion(**{**row, **tuples, "usage": row["usage"] and Usage(**row["usage"])})
