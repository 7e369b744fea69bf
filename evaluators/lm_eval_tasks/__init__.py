"""Tasks of lm-eval (https://github.com/EleutherAI/lm-evaluation-harness) on our engines.

lm-eval builds the prompts and grades the completions; `model.py` implements its model interface with `Engine.generate`
and `Engine.score`. It follows lm-eval's vLLM model, with these differences:

- a task that sets neither `do_sample` nor `temperature` is greedy, as with lm-eval's Hugging Face model; its vLLM model
  would sample at temperature 1;
- completions are decoded as by lm-eval's Hugging Face model, without special tokens and without the space that some
  tokenizers put before the first word;
- it refuses a prompt or option that would be truncated to nothing, settings that `SamplingParams` lacks (`num_beams`),
  and tasks whose scores are not in [0, 1] (perplexities).
"""

from evaluators.lm_eval_tasks.index import check
from evaluators.lm_eval_tasks.process import run_task
from evaluators.lm_eval_tasks.task import LmEvalTask

__all__ = ["LmEvalTask", "check", "run_task"]
