"""Tasks of lm-eval (https://github.com/EleutherAI/lm-evaluation-harness) on our engines.

lm-eval builds the prompts and grades the completions; `model.py` implements its model interface with `Engine.generate`
and `Engine.score`. It follows lm-eval's vLLM model, with these differences:

- a task that sets neither `do_sample` nor `temperature` is greedy, as with lm-eval's Hugging Face model; its vLLM model
  would sample at temperature 1;
- completions are decoded as by lm-eval's Hugging Face model, without special tokens and without the space that some
  tokenizers put before the first word;
- reasoning is not graded, as in offmodel's own benchmarks (`engines/thinking.py`), and a task's stop strings do not end
  it. lm-eval does both where it is given a `think_end_token`, and grades reasoning that never ends as an answer;
- several samples of an example are graded one by one, and their metrics averaged; lm-eval has only a task's `repeats`;
- it refuses a prompt or option that would be truncated to nothing, settings that `SamplingParams` lacks (`num_beams`),
  and tasks whose scores are not in [0, 1] (perplexities).
"""

from evaluators.lm_eval_tasks.index import check
from evaluators.lm_eval_tasks.process import run_task
from evaluators.lm_eval_tasks.task import LmEvalTask, TaskSampling

__all__ = ["LmEvalTask", "TaskSampling", "check", "run_task"]
