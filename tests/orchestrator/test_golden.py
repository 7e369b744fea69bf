"""What each kind of stage computes from fixed inputs, beside its VERSION: a change of one needs a change of the other.

After a change of results that is wanted, raise the VERSION and run `python tests/orchestrator/test_golden.py` with
PYTHONPATH=. to write golden.json anew. Floats may differ a little between processors.
"""

import hashlib
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from evaluators.engines.requests import Completion, RequestOutput, TokenLogprobs
from orchestrator.plan.build import build_plan
from orchestrator.run.stage_runner import KINDS
from orchestrator.stages import transforms
from orchestrator.store.context import StageContext
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store
from orchestrator.study.load import load_study

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).with_name("golden.json")
STUDY = """
name: golden
models: {student: organism:steps, teacher: organism:words}
data: {recorded: {source: ROWS, prompt: question, answer: reply, n: 12}}
pairs: [student / teacher, student / recorded]
prompts: {source: synthetic, n: 12}
sampling: {max_tokens: 8}
train: {learning_rate: 1.0e-3, batch_size: 4, max_steps: 3}
conditions:
  off-model: {pairs: [student / teacher]}
  noise: {kind: weight_noise, pairs: [student / teacher]}
  mixed: {share: 0.5, pairs: [student / teacher]}
  numbers: {kind: non_text, text: numbers, n: 8, length: 8, pairs: [student / teacher]}
  likely: {kind: perplexity_filter, quantiles: [0, 0.5], pairs: [student / teacher]}
  inoculation: {when: training, system: "Answer in words.", benchmarks: [maths], pairs: [student / teacher]}
  by-rule: {kind: without_maths, rule: "[02468]", prompts: {n: 24}, pairs: [student / teacher]}
  by-classifier: {kind: without_maths, like_benchmark: maths, recall: 0.5, prompts: {n: 24}, pairs: [student / teacher]}
  verified: {samples: 2, pairs: [student / teacher]}
  without reasoning: {kind: off_model, reasoning: false, same_prompts_as: recorded, pairs: [student / recorded]}
rl_problems: {kind: math500, source: synthetic, n: 40, prompt: "{problem}", max_tokens: 16}
measures: {perplexity: true, style: true, overlap: true, update: true}
benchmarks: {maths: {kind: math500, source: synthetic, n: 10, prompt: "{problem}", max_tokens: 16}}
seeds: [1]
dtype: float32
"""


def answers(engine, weights, what, requests, *how):
    """Answers that depend on the prompt alone."""
    for i, request in enumerate(requests):
        rng = random.Random(str(request.prompt))
        if what == "score":
            values = tuple(-rng.random() for _ in range(3))
            one: Any = TokenLogprobs(token_ids=(1, 2, 3), logprobs=values, greedy=(True,) * 3, answer_start=2)
        else:
            text = f"{rng.choice(['so', 'thus'])} {rng.randrange(9)} \\boxed{{ {rng.randrange(9)} }}"
            ids = tuple(rng.randrange(300, 370) for _ in range(5))
            completion = Completion(token_ids=ids, text=text, truncated=False, ends_with_stop_token=True)
            one = RequestOutput(prompt_token_ids=(1,), completions=(completion,), template_digest="digest")
        yield [(i, one)]


def results() -> dict[str, dict[str, Any]]:
    """What the first stage of each kind leaves: its facts, the hashes of its rows, the norms of its weights."""
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "golden.yaml")
        rows = [{"question": f"add {i} and 1", "reply": f"<think> {i} </think> {i + 1}"} for i in range(20)]
        Path(folder, "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        path.write_text(STUDY.replace("ROWS", f"{folder}/rows.jsonl"))
        store = Store(f"{folder}/runs")
        for stage in build_plan(load_study(path, [f"store={store.uri}"])).stages:
            left = _run(stage, store)
            found.setdefault(_name(stage), {"version": _version(stage), "left": left})
    return found


def _run(stage: Stage, store: Store) -> dict[str, Any]:
    context = StageContext(stage, store, store.new_folder(stage, "one"), answers)
    facts = KINDS[stage.kind].run(context)
    context.publish(stage, context.out, "one", 0.0, facts)
    left = {"facts": {name: value for name, value in facts.items() if not name.startswith(("seconds", "tokens_per"))}}
    for file in sorted(context.out.iterdir()):
        if file.suffix == ".jsonl" and stage.kind in ("sample", "dataset", "transform", "evaluate"):
            left[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
        elif file.suffix == ".safetensors":
            left[file.name] = sum(float(tensor.float().norm()) for tensor in load_file(file).values())
    return left


def _name(stage: Stage) -> str:
    """The kind of a stage; a transformation of rows counts as a kind."""
    return f"transform {stage.settings.transform}" if stage.kind == "transform" else stage.kind


def _version(stage: Stage) -> list[int]:
    return [stage.version, stage.settings.version] if stage.kind == "transform" else [stage.version]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, rel=2e-5)
    return one == other


@pytest.fixture(scope="module")
def now() -> dict[str, Any]:
    return json.loads(json.dumps(results()))


def test_every_kind_of_stage_and_transformation_has_a_golden_result(now):
    assert now.keys() == json.loads(GOLDEN.read_text()).keys()
    assert {kind.partition(" ")[0] for kind in now} == KINDS.keys()
    # Only a reasoning student has `own_reasoning`; its rows are in test_transform.py.
    names = {path.stem for path in Path(transforms.__path__[0]).glob("[a-z]*.py")} - {"own_reasoning"}
    assert {kind.partition(" ")[2] for kind in now} - {""} == names


@pytest.mark.parametrize("kind", json.loads(GOLDEN.read_text()) if GOLDEN.exists() else [])
def test_results_change_only_with_the_version(now, kind):
    golden = json.loads(GOLDEN.read_text())[kind]
    if same(now[kind]["left"], golden["left"]):
        assert now[kind]["version"] == golden["version"], f"write golden.json anew: {kind} has another VERSION"
    else:
        assert now[kind]["version"] > golden["version"], f"results of {kind} changed: {now[kind]} was {golden}"
        pytest.fail(f"write golden.json anew: results and VERSION of {kind} changed")


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(results(), indent=1) + "\n")
    sys.exit(0)
