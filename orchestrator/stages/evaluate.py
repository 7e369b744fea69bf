"""The stage `evaluate`: a model is asked a benchmark, and its answers are graded."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from evaluators.benchmarks import BENCHMARKS
from evaluators.engine import Decoding
from evaluators.evaluate import Example, evaluate, read_examples, summary, write_examples
from orchestrator import data
from orchestrator.stage import Stage
from orchestrator.study import Benchmark, Study
from orchestrator.work import Work

VERSION = 1
EXAMPLES = "examples.jsonl"


def stage(name: str, study: Study, model: Stage, student: Stage | None, begun: tuple[Stage, int] | None) -> Stage:
    """A model (or `student`, trained from it) asked the benchmark `name`; `begun` gives the evaluation, and how many
    tokens of its answers, that every answer begins with."""
    benchmark = study.benchmarks[name]
    module = BENCHMARKS[benchmark.kind]
    settings = {
        "kind": benchmark.kind,
        "rows": data.rows_identity(benchmark),
        "prompt": benchmark.prompt or module.PROMPT,
        "max_tokens": benchmark.max_tokens or module.MAX_TOKENS,
        "temperature": benchmark.temperature,
        "opening_tokens": begun[1] if begun else 0,
        "dtype": study.dtype,
        "context": study.context,
    }
    inputs = {"base": model}
    if student is not None:
        inputs["student"] = student
    if begun is not None:
        inputs["opening"] = begun[0]
    return Stage(
        "evaluate",
        VERSION,
        f"{(student or model).name}-{benchmark.kind}{'-begun' if begun else ''}",
        settings,
        inputs,
        {
            "name": name,
            "benchmark": benchmark.model_dump(),
            "retries": study.resources.retries,
            "engine": model.runtime["engine"],
        },
    )


def run(work: Work) -> dict[str, Any]:
    settings = work.stage.settings
    openings = None
    if "opening" in work.stage.inputs:
        begun = read_examples(work.folder("opening") / EXAMPLES)
        # A finished answer ends with the token that ends it: nobody goes on after that.
        openings = {e.id: (e.ids if e.cut_off else e.ids[:-1])[: settings["opening_tokens"]] for e in begun}

    def ask(chats, decoding, begin):
        return work.ask(work.stage.runtime["engine"], work.weights, chats, decoding, begin)

    examples = evaluate(
        settings["kind"],
        data.read_benchmark(Benchmark(**work.stage.runtime["benchmark"])),
        ask,
        Decoding(max_tokens=settings["max_tokens"], temperature=settings["temperature"]),
        settings["prompt"],
        openings,
    )
    write_examples(work.out / EXAMPLES, examples)
    return {**summary(examples), "groups": _by_group(examples)}


def examples_of(folder: Path) -> list[Example]:
    return read_examples(folder / EXAMPLES)


def _by_group(examples: list[Example]) -> dict[str, dict[str, float]]:
    """Accuracy by each part of the benchmark: {"level": {"1": 0.9, ...}}."""
    verdicts: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for example in examples:
        for name, value in example.group.items():
            verdicts[name][str(value)].append(example.correct)
    return {name: {v: sum(c) / len(c) for v, c in sorted(parts.items())} for name, parts in verdicts.items()}
