"""What stages will ask of the fleet, before they do."""

from collections.abc import Iterable

from orchestrator import data
from orchestrator.stage import Stage
from orchestrator.study import Study


def cost_of(stages: Iterable[Stage], study: Study) -> tuple[int, int]:
    """How many answers these stages will sample, and how many tokens those can have at most."""
    answers = tokens = 0
    prompts = None
    for stage in stages:
        if stage.kind != "sample":
            continue
        if "name" not in stage.runtime:
            prompts = len(data.read_prompts(study.prompts)) if prompts is None else prompts
            n, longest = prompts, study.sampling.max_tokens
        else:
            benchmark = study.benchmarks[stage.runtime["name"]]
            decoding = stage.settings["benchmark"].get("decoding", {"n": 1, "max_tokens": 0})  # lm-eval knows its own
            n, longest = benchmark.n * decoding["n"], decoding["max_tokens"]
        answers += n
        tokens += n * longest
    return answers, tokens
