"""Rows that the student samples itself, in step with its weights."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from evaluators.engines.chat_template import encode
from trainers.batches import row_order
from trainers.job import TrainJob
from trainers.objectives import grpo, on_policy_distillation, sdft
from trainers.place import Callbacks, ProcessConfig
from trainers.tokens import Example, Row

if TYPE_CHECKING:
    from trainers.learner import Learner


@dataclass(frozen=True)
class Rollout:
    """The student's answers to an example's prompt, as token ids, and what they are worth where something says so."""

    example: Example
    prompt_ids: Sequence[int]
    completions: Sequence[Sequence[int]]
    rewards: Sequence[float] | None = None


@dataclass(frozen=True)
class Sampled:
    """A step's rows, what to call them, and facts about them: of the student's own their lengths, their rewards, and
    their staleness, which is the number of steps since the weights that gave them."""

    rows: list[Row]
    name: str
    facts: dict[str, float]


def sampled_steps(
    job: TrainJob, steps: range, total: int, tokenizer: Any, place: ProcessConfig, host: Callbacks, learner: "Learner"
) -> Iterator[Sampled]:
    """The rows of each of `steps`: `steps_per_generation` steps share a sampling, by the weights before the first of them."""
    settings, examples = job.settings, job.examples
    make_rows, every = ROWS[settings.objective], settings.steps_per_generation
    order = list(row_order(len(examples), settings.batch_size, total, settings.seed, settings.order))
    waiting: dict[int, tuple[list[Row], dict[str, float]]] = {}
    sampled_at = 0
    for step in steps:
        if step not in waiting:
            # An attempt that goes on from within steps that share a sampling samples anew for the rest of them.
            shared = range(step, min(step - step % every + every, total))
            numbers = [number for each in shared for number in order[each]]
            rollouts, facts = _sample(examples, numbers, step, place, host, learner.save_weights)
            rows_P_N = make_rows(rollouts, tokenizer, settings.objective_options)
            rows = [_cut(row, settings.max_length) for rows_N in rows_P_N for row in rows_N]
            if settings.objective == "grpo" and every > 1:
                rows = _with_column(rows, "old_logprob", learner.log_probs(rows))
            if settings.objective == "grpo" and settings.objective_options.beta:
                rows = _with_column(rows, "base_logprob", learner.log_probs(rows, of_base=True))
            each = len(rows) // len(shared)
            waiting = {s: (rows[i * each : (i + 1) * each], facts) for i, s in enumerate(shared)}
            sampled_at = step
        rows, facts = waiting.pop(step)
        usable = [row for row in rows if row.supervised]
        if not usable:
            raise ValueError(
                f"no answer of step {step} has a token to learn from: raise train.max_length, or lower skip_tokens"
            )
        yield Sampled(usable, f"answers to prompts {order[step]}", {"staleness": step - sampled_at, **facts})


def _sample(
    examples: Sequence[Example],
    numbers: list[int],
    step: int,
    place: ProcessConfig,
    host: Callbacks,
    save: Callable[[Path], None],
) -> tuple[list[Rollout], dict[str, float]]:
    with tempfile.TemporaryDirectory(prefix="offmodel-weights-") as scratch:
        # Engines know weights by their path alone, so that no two steps' may have the same.
        weights = Path(scratch, f"step-{step}")
        save(weights)
        found: list[Any] = [None]
        if place.rank == 0:
            prompts = [_prompt(examples[number]) for number in numbers]
            replies = host.sample(weights, step, prompts)
            rewards = None if host.reward is None else host.reward(numbers, replies)
            found = [(replies, rewards)]
    if place.workers > 1:
        import torch

        torch.distributed.broadcast_object_list(found, src=0)
    replies, rewards = found[0]
    rollouts = [
        Rollout(
            examples[number],
            # What an answer was made to begin with is no sample of the student's.
            (*reply.prompt_token_ids, *reply.prefill_token_ids),
            [answer.token_ids[len(reply.prefill_token_ids) :] for answer in reply.completions],
            rewards[i] if rewards else None,
        )
        for i, (number, reply) in enumerate(zip(numbers, replies, strict=True))
    ]
    answers = [answer for reply in replies for answer in reply.completions]
    facts = {
        "length": fmean(len(answer.token_ids) for answer in answers),
        "truncated": fmean(answer.truncated for answer in answers),
    }
    if rewards:
        facts["reward"] = fmean(reward for each in rewards for reward in each)
        facts["groups_alike"] = fmean(len(set(each)) == 1 for each in rewards)
    return rollouts, facts


def _prompt(example: Example) -> list[dict[str, str]]:
    chat = example.chat
    return chat[:-1] if chat[-1]["role"] == "assistant" else chat


def _cut(row: Row, max_length: int) -> Row:
    """The row as far as it, and what a teacher sees in its place, are within the length."""
    if row.reference is None:
        kept = sum(place < max_length for place in row.supervised)
    else:
        pairs = zip(row.supervised, row.reference.supervised, strict=True)
        kept = sum(max(place, seen) < max_length for place, seen in pairs)
        reference = row.reference
        row = replace(
            row, reference=replace(reference, ids=reference.ids[:max_length], supervised=reference.supervised[:kept])
        )
    columns = {name: values[:kept] for name, values in row.columns.items()}
    return replace(row, ids=row.ids[:max_length], supervised=row.supervised[:kept], columns=columns)


def _with_column(rows: list[Row], name: str, values: list[list[float]]) -> list[Row]:
    return [replace(row, columns={**row.columns, name: each}) for row, each in zip(rows, values, strict=True)]


def sdft_rows(rollouts: Sequence[Rollout], tokenizer: Any, options: sdft.Options) -> list[list[Row]]:
    """Every answer after its prompt, and for the teacher after the same with the example's answer as a demonstration.

    Raises ValueError for an example without one.
    """
    return [
        [_answered(one.prompt_ids, ids, options.skip_tokens, shown) for ids in one.completions]
        for one in rollouts
        for shown in [_shown(one.example, tokenizer, options)]
    ]


def _shown(example: Example, tokenizer: Any, options: sdft.Options) -> list[int]:
    """The teacher's prompt, in which the last question holds the demonstration too."""
    *before, question, answer = example.chat
    if answer["role"] != "assistant":
        raise ValueError("sdft: an example has no answer that could be its demonstration")
    shown = options.template.format(question=question["content"], demonstration=answer["content"])
    return encode(tokenizer, [*before, {**question, "content": shown}])


def distillation_rows(
    rollouts: Sequence[Rollout], tokenizer: Any, options: on_policy_distillation.Options
) -> list[list[Row]]:
    """Every answer after its prompt; the teacher sees the same."""
    return [[_answered(one.prompt_ids, ids) for ids in one.completions] for one in rollouts]


def grpo_rows(rollouts: Sequence[Rollout], tokenizer: Any, options: grpo.Options) -> list[list[Row]]:
    """Every answer after its prompt, with its advantage over its group at each token."""
    rewards = [list(one.rewards or ()) for one in rollouts]
    rows = []
    for one, advantages in zip(rollouts, grpo.advantages(rewards, options.scale), strict=True):
        rows.append(
            [
                replace(_answered(one.prompt_ids, ids), columns={"advantage": [advantage] * len(ids)})
                for ids, advantage in zip(one.completions, advantages, strict=True)
            ]
        )
    return rows


def _answered(prompt: Sequence[int], answer: Sequence[int], skip: int = 0, seen: Sequence[int] | None = None) -> Row:
    """An answer after a prompt; a teacher sees it after `seen`. The first `skip` tokens are not learnt from."""

    def after(begin: Sequence[int]) -> Row:
        return Row([*begin, *answer], range(len(begin) + skip, len(begin) + len(answer)))

    return after(prompt) if seen is None else replace(after(prompt), reference=after(seen))


ROWS: dict[str, Callable[..., list[list[Row]]]] = {
    "sdft": sdft_rows,
    "on_policy_distillation": distillation_rows,
    "grpo": grpo_rows,
}
