"""What stages will ask of the fleet, before they do."""

from collections.abc import Iterable

from evaluators.benchmarks import BENCHMARKS
from orchestrator import data
from orchestrator.stage import Stage
from orchestrator.study import Study


def cost_of(stages: Iterable[Stage], study: Study) -> tuple[int, int]:
    """How many answers these stages will sample, and how many tokens those can have at most."""
    answers = tokens = 0
    prompts = None
    for stage in stages:
        if stage.kind == "sample":
            prompts = len(data.read_prompts(study.prompts)) if prompts is None else prompts
            n, longest = prompts, study.sampling.max_tokens
        elif stage.kind == "evaluate":
            benchmark = study.benchmarks[stage.runtime["name"]]
            n, longest = benchmark.n, benchmark.max_tokens or BENCHMARKS[benchmark.kind].MAX_TOKENS
        else:
            continue
        answers += n
        tokens += n * longest
    return answers, tokens
