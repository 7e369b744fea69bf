"""Training rows from completions that the student samples itself with its current weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import torch

from evaluators.engines.chat_template import Chat
from evaluators.engines.requests import RequestOutput
from trainers import objectives
from trainers.batches import StepBatch, row_order
from trainers.job import Callbacks, ProcessConfig, TrainJob
from trainers.learner import Learner
from trainers.rows import Rollout, Row, prompt_of, truncate
from trainers.scratch import scratch_folder


@dataclass(frozen=True)
class RolloutSampler:
    """Samples completions for the examples' prompts in the process of rank 0; all processes get the same rows."""

    job: TrainJob
    tokenizer: Any
    process: ProcessConfig
    callbacks: Callbacks
    learner: Learner

    def batches(self, steps: range, total: int) -> Iterator[StepBatch]:
        """The batches of `steps` of a training with `total` steps. `steps_per_generation` steps share a sampling.

        An attempt that resumes within such steps samples the rest of them again.
        """
        settings = self.job.settings
        order = list(row_order(len(self.job.examples), settings.batch_size, total, settings.seed, settings.order))
        every = settings.steps_per_generation
        first = steps.start
        while first < steps.stop:
            shared = range(first, min(first - first % every + every, total))
            rows, metrics = self._sample([number for step in shared for number in order[step]], first)
            size = len(rows) // len(shared)
            for i, step in enumerate(range(first, min(shared.stop, steps.stop))):
                usable = [row for row in rows[i * size : (i + 1) * size] if row.supervised]
                if not usable:
                    raise ValueError(
                        f"no completion of step {step} has a supervised token: raise train.max_length, or lower "
                        f"skip_tokens"
                    )
                yield StepBatch(usable, f"completions of prompts {order[step]}", {"staleness": i, **metrics})
            first = shared.stop

    def _sample(self, numbers: list[int], step: int) -> tuple[list[Row], dict[str, float]]:
        """Rows made of completions for the examples with these numbers, and metrics of the completions."""
        settings, options = self.job.settings, self.job.settings.objective_options
        objective = objectives.get(settings.objective)
        assert objective.rollout_rows is not None
        outputs, rewards = self._generate(numbers, step)
        rollouts = [
            _rollout(self.job.examples[number], output, rewards[i] if rewards else None)
            for i, (number, output) in enumerate(zip(numbers, outputs, strict=True))
        ]
        rows_P_N = objective.rollout_rows(rollouts, self.tokenizer, options)
        rows = [truncate(row, settings.max_length) for rows_N in rows_P_N for row in rows_N]
        for column in objective.logprob_columns(options, settings.steps_per_generation):
            values = self.learner.log_probs(rows, of_base=column == "base_logprob")
            rows = [replace(row, columns={**row.columns, column: each}) for row, each in zip(rows, values, strict=True)]
        return rows, _metrics(outputs, rewards)

    def _generate(self, numbers: list[int], step: int) -> tuple[list[RequestOutput], list[list[float]] | None]:
        """An output for each example with these numbers, and the rewards (P, N) where the job has them."""
        with scratch_folder() as scratch:
            # Engines identify weights by their path, so each step needs a path of its own.
            weights = scratch / f"step-{step}"
            self.learner.save_weights(weights)
            found: list[Any] = [None]
            if self.process.rank == 0:
                prompts = [prompt_of(self.job.examples[number]) for number in numbers]
                outputs = self.callbacks.generate(weights, step, prompts)
                rewards = None if self.callbacks.reward is None else self.callbacks.reward(numbers, outputs)
                found = [(outputs, rewards)]
        if self.process.workers > 1:
            torch.distributed.broadcast_object_list(found, src=0)
        return found[0]


def _rollout(chat: Chat, output: RequestOutput, rewards: Sequence[float] | None) -> Rollout:
    prefill = output.prefill_token_ids  # Not sampled by the student, so part of the prompt.
    completions = [completion.token_ids[len(prefill) :] for completion in output.completions]
    return Rollout(chat, (*output.prompt_token_ids, *prefill), completions, rewards)


def _metrics(outputs: Sequence[RequestOutput], rewards_P_N: Sequence[Sequence[float]] | None) -> dict[str, float]:
    completions = [completion for output in outputs for completion in output.completions]
    metrics = {
        "mean_length": fmean(len(completion.token_ids) for completion in completions),
        "truncated": fmean(completion.truncated for completion in completions),
    }
    if rewards_P_N:
        metrics["reward"] = fmean(reward for rewards_N in rewards_P_N for reward in rewards_N)
        metrics["frac_reward_zero_std"] = fmean(len(set(rewards_N)) == 1 for rewards_N in rewards_P_N)
    return metrics
