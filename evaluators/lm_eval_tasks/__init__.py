"""Any task of lm-eval (https://github.com/EleutherAI/lm-evaluation-harness), asked of our own engines.

lm-eval makes the prompts and grades the answers; `model.py` is its model interface over `Engine.answer` and
`Engine.likelihood`. It follows lm-eval's own vLLM model and departs from it in these points:

- a task that sets neither `do_sample` nor `temperature` is asked greedily, as by lm-eval's Hugging Face model; its vLLM
  model would sample at temperature 1;
- an answer's text is decoded as by lm-eval's Hugging Face model, without special tokens and without the blank that some
  tokenizers put before a first word;
- a prompt or option that can only be cut to nothing is refused, as is a setting that `SamplingParams` does not have
  (`num_beams`), and a task whose scores are no shares (perplexities).
"""

from evaluators.lm_eval_tasks.index import check
from evaluators.lm_eval_tasks.process import run_task
from evaluators.lm_eval_tasks.task import LmEvalTask

__all__ = ["LmEvalTask", "check", "run_task"]
