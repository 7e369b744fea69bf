"""The stage `train`, run in this process by Ray Train's local mode, with a function instead of engines."""

import json
import os
import random
import signal
import tempfile
import uuid
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from ray.train import ControllerError
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
from safetensors.torch import load_file
from transformers import AutoTokenizer

from evaluators.engines.chat_template import encode
from evaluators.engines.requests import Completion, RequestOutput
from orchestrator.plan.build import build_plan
from orchestrator.run.stage_runner import KINDS
from orchestrator.stages.data import read_examples
from orchestrator.stages.ray_train import FIGURES, _cause, run
from orchestrator.stages.train import STEPS, RLProblems, at_step
from orchestrator.stages.training import artifacts
from orchestrator.stages.training.examples import read_chats
from orchestrator.store.context import StageContext, Weights
from orchestrator.store.store import Store
from orchestrator.store.temporary import fetch_temporary
from organisms import shipped
from trainers.batches import row_order
from trainers.losses import log_prob
from trainers.objectives import grpo

pytestmark = pytest.mark.slow

ADAPTER, CHECKPOINT = "adapter_model.safetensors", "model.safetensors"
TRAIN = "train={learning_rate: 5.0e-3, batch_size: 4, max_steps: 4, lr_scheduler_type: constant}"
PROBLEMS = "rl_problems={kind: math500, source: synthetic, n: 6, prompt: '{problem}', max_tokens: 8}"
GRPO = ["train.objective={kind: grpo, num_generations: 3}", PROBLEMS]
ON_POLICY = [["train.objective=sdft"], ["train.objective=on_policy_distillation"], GRPO]
ON_POLICY_IDS = ["sdft", "on_policy_distillation", "grpo"]


@pytest.fixture(autouse=True)
def _alone():
    """One thread, and a SIGTERM without a handler does not end the tests."""

    def unhandled(*_):
        raise AssertionError("no handler for the SIGTERM")

    threads, before = torch.get_num_threads(), signal.signal(signal.SIGTERM, unhandled)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def stage(small):
    """The first training of a study with one trial."""

    def act(*overrides: str):
        one = ["pairs.teachers=[words]", "conditions={off-model: }", "seeds=[1]", "recoveries={}", TRAIN, *overrides]
        return build_plan(small(*one)).trials[0].points[-1].student

    return act


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "runs"))


@pytest.fixture
def another(tmp_path):
    """An empty store."""
    return Store(str(tmp_path / "another"))


@pytest.fixture
def remote(tmp_path, monkeypatch):
    monkeypatch.setenv("OFFMODEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # The caller of a stage removes an attempt's folder.
    return Store(f"memory://{uuid.uuid4().hex}/runs")


def problems_of(stage) -> list[dict]:
    if stage.kind != "train" or not isinstance(stage.settings.examples, RLProblems):
        return []
    return read_examples(stage.settings.examples.prompts.examples, stage.runtime.location)


class Engines:
    """Replaces the engines: completions are drawn with the seed, the last request first, and the calls are recorded.

    The first `level - 1` completions of a problem are correct.
    """

    def __init__(self, store: Store, stage):
        self._store, self._problems = store, {row["problem"]: row for row in problems_of(stage)}
        self._tokenizer = AutoTokenizer.from_pretrained(shipped.FOLDER / "steps")
        self.weights, self.temporary, self.prompts, self.seeds = [], [], [], []

    def __call__(self, engine, weights, what, requests, *how):
        (sampling_params,) = how
        self.weights.append(weights)
        self.prompts.append([request.prompt[-1]["content"] for request in requests])
        self.seeds.append(sampling_params.seed)
        if weights.temporary:
            with tempfile.TemporaryDirectory() as scratch:
                folder = fetch_temporary(self._store, weights.adapter or weights.base, Path(scratch))
                self.temporary.append(load_file(folder / (ADAPTER if weights.adapter else CHECKPOINT)))
        for i, request in reversed(list(enumerate(requests))):
            prompt, rng = request.prompt[-1]["content"], random.Random(f"{sampling_params.seed} {request.number}")
            problem = self._problems.get(prompt)
            answers = []
            for k in range(sampling_params.n):
                right = problem is not None and k < problem["level"] - 1
                text = f"\\boxed{{ {problem['answer'] if right else 'x'} }}" if problem else prompt
                answers.append(
                    Completion(
                        token_ids=tuple(rng.choices(range(300, 370), k=5 + k)),
                        text=text,
                        truncated=False,
                        ends_with_stop_token=True,
                    )
                )
            yield [
                (
                    i,
                    RequestOutput(
                        prompt_token_ids=tuple(encode(self._tokenizer, request.prompt)),
                        completions=tuple(answers),
                    ),
                )
            ]


def begin(store: Store, stage, engines=None, attempt: str = "one") -> StageContext:
    """An attempt at a stage whose inputs are finished."""
    for needed in stage.inputs.values():
        if store.record(needed) is None:
            do(store, needed, engines)
    return StageContext(stage, store, store.new_folder(stage, attempt), engines or Engines(store, stage))


def do(store: Store, stage, engines=None, attempt: str = "one") -> Path:
    """Run a stage and publish its result; returns its folder."""
    work = begin(store, stage, engines, attempt)
    work.publish(stage, work.out, attempt, 0.0, KINDS[stage.kind].run(work))
    return store.folder(stage.address, store.record(stage))


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / STEPS).read_text().splitlines()]


def left(store: Store, stage) -> list[str]:
    """The files in a stage's folder in the store, without the random part of names."""
    folder = f"{store.root}/{stage.address}"
    found = store.fs.ls(folder, detail=False) if store.fs.exists(folder) else []
    return sorted(path.rsplit("/", 1)[-1].partition("-")[0] for path in found)


@pytest.fixture
def preempted(monkeypatch):
    """Sends a SIGTERM to the first attempt at a step; returns the reported steps."""
    seen: list[int] = []
    append_metrics = artifacts.append_metrics

    def act(at: int) -> list[int]:
        def reporting(context, metrics):
            append_metrics(context, metrics)
            seen.append(metrics["step"])
            if seen.count(at) == 1 and metrics["step"] == at:
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(artifacts, "append_metrics", reporting)
        return seen

    return act


def test_a_training_writes_weights_figures_and_metrics_of_its_steps(stage, store):
    whole = stage("train.kl_every_steps=2")
    folder = do(store, whole)
    assert {path.name for path in folder.iterdir()} >= {"adapter_config.json", ADAPTER, FIGURES, STEPS}
    watched, facts = lines(folder), store.record(whole)["facts"]
    assert [line["step"] for line in watched] == [0, 1, 2, 3]
    assert ["kl_to_base" in line for line in watched] == [True, False, True, True]
    assert 0 < watched[0]["kl_to_base"] < watched[-1]["kl_to_base"]
    assert json.loads((folder / FIGURES).read_text())["losses"] == [line["loss"] for line in watched]
    assert (facts["steps"], facts["rows"]) == (4, 20)
    assert (facts["first_loss"], facts["last_loss"]) == (watched[0]["loss"], watched[-1]["loss"])
    assert "losses" not in facts
    assert left(store, whole) == ["one", "record.json"]


@pytest.mark.parametrize(("method", "name"), [("lora", ADAPTER), ("full", CHECKPOINT)])
def test_a_checkpoint_equals_the_stage_that_trains_up_to_it(stage, store, another, method, name):
    whole, plain = (stage(f"train.tuning={method}", *more) for more in (["train.checkpoints=[1, 3]"], []))
    folder = do(store, whole)
    weights = {}
    for step in (1, 3):
        part = at_step(whole, step)
        record = store.record(part)
        assert record["facts"] == {"steps": step}
        weights[step] = (store.folder(part.address, record) / name).read_bytes()
        assert (do(another, part) / name).read_bytes() == weights[step]
    assert len({*weights.values(), (folder / name).read_bytes()}) == 3
    assert len(another.records_of_kind("train")) == 2
    assert (do(another, plain) / name).read_bytes() == (folder / name).read_bytes()


def test_a_checkpoint_of_an_earlier_attempt_is_not_replaced(stage, store):
    whole = stage("train.checkpoints=[1]")
    part = at_step(whole, 1)
    run(begin(store, whole))
    before, record = left(store, part), store.record(part)
    run(begin(store, whole, attempt="two"))
    assert store.record(part) == record
    assert left(store, part) == before


@pytest.mark.parametrize("objective", [["train.objective=sft"], *ON_POLICY], ids=["sft", *ON_POLICY_IDS])
def test_a_preempted_training_resumes_from_its_state(stage, store, another, preempted, objective):
    whole = stage(*objective)
    undisturbed = Engines(another, whole)
    expected = do(another, whole, undisturbed)
    seen, engines = preempted(at=1), Engines(store, whole)
    with pytest.raises(SystemExit) as ended:
        run(begin(store, whole, engines))
    assert ended.value.code == 143
    assert left(store, whole) == ["one", "state"]
    folder = do(store, whole, engines, attempt="two")
    assert seen == [0, 1, 2, 3]
    assert [line["step"] for line in lines(folder)] == [0, 1, 2, 3]
    assert (folder / ADAPTER).read_bytes() == (expected / ADAPTER).read_bytes()
    assert [line["loss"] for line in lines(folder)] == [line["loss"] for line in lines(expected)]
    assert (engines.prompts, engines.seeds) == (undisturbed.prompts, undisturbed.seeds)
    assert left(store, whole) == ["record.json", "two"]


@pytest.fixture
def lost_once(monkeypatch):
    """Makes the first attempt fail after it has reported its third step."""
    append_metrics, lost = artifacts.append_metrics, []

    def losing(context, metrics):
        append_metrics(context, metrics)
        if metrics["step"] == 2 and not lost:
            lost.append(metrics)
            raise ConnectionError("a process is gone")

    monkeypatch.setattr(artifacts, "append_metrics", losing)


@pytest.mark.usefixtures("lost_once")
@pytest.mark.parametrize(("kept", "states"), [("1.0e-9", ["state"]), ("1000", [])], ids=["with", "without"])
def test_a_retried_training_logs_every_step_once(stage, store, kept, states):
    # As Ray Train restarts processes after one of them is lost.
    work = begin(store, stage(f"resources.train.save_every_seconds={kept}"))
    with pytest.raises(ConnectionError, match="a process is gone"):
        run(work)
    assert left(store, work.stage) == ["one", *states]
    run(work)
    assert [line["step"] for line in lines(work.out)] == [0, 1, 2, 3]


def test_a_remote_store_has_checkpoints_states_and_temporary_weights(stage, remote, another, preempted):
    whole = stage(*GRPO, "train.checkpoints=[1]")
    expected = do(another, whole)
    seen, engines = preempted(at=1), Engines(remote, whole)
    with pytest.raises(SystemExit):
        run(begin(remote, whole, engines))
    assert left(remote, whole) == ["state"]
    folder = do(remote, whole, engines, attempt="two")
    assert seen == [0, 1, 2, 3]
    assert (folder / ADAPTER).read_bytes() == (expected / ADAPTER).read_bytes()
    assert left(remote, whole) == ["record.json", "two"]
    part = at_step(whole, 1)
    one, other = ((s.folder(part.address, s.record(part)) / ADAPTER).read_bytes() for s in (remote, another))
    assert one == other
    assert len(engines.temporary) == 3


@pytest.mark.parametrize("objective", ON_POLICY, ids=ON_POLICY_IDS)
def test_temporary_weights_exist_while_the_engines_generate(stage, store, objective):
    whole, there = stage(*objective), []
    engines = Engines(store, whole)

    def watching(*asked):
        there.append(left(store, whole))
        yield from engines(*asked)

    work = begin(store, whole, watching)
    first = len(engines.weights)  # Some objectives need samples, which the engines generate too.
    run(work)
    base, weights = whole.inputs["base"].address, engines.weights[first:]
    assert weights[0] == Weights(base, None), "a new adapter changes nothing, so there is none to be asked"
    assert {(one.base, one.temporary) for one in weights[1:]} == {(base, True)}
    assert len({one.adapter for one in weights[1:]}) == len(engines.temporary) == 3
    assert all(Path(one.adapter).parent == Path(whole.address) for one in weights[1:])
    factors = [next(value for name, value in one.items() if "lora_B" in name) for one in engines.temporary]
    assert all(factor.abs().max() > 0 for factor in factors)
    assert not any(torch.equal(one, next_one) for one, next_one in pairwise(factors))
    assert there[first:] == [["one", "temporary"]] * 4
    assert left(store, whole) == ["one"]
    assert len(set(engines.seeds[first:])) == 4
    chats = read_chats(work)
    asked = [[message["content"] for message in chat if message["role"] == "user"][-1] for chat in chats]
    order = row_order(len(asked), 4, 4, seed=1)
    assert engines.prompts[first:] == [[asked[number] for number in numbers] for numbers in order]


def test_temporary_full_weights_are_a_checkpoint(stage, store):
    whole = stage(*GRPO, "train.tuning=full", "train.max_steps=2")
    engines = Engines(store, whole)
    run(begin(store, whole, engines))
    assert {(one.adapter, one.temporary, str(Path(one.base).parent)) for one in engines.weights} == {
        (None, True, whole.address)
    }
    base = load_file(shipped.FOLDER / "steps" / CHECKPOINT)
    assert engines.temporary[0].keys() == base.keys()
    assert all(torch.equal(engines.temporary[0][name], base[name]) for name in base)
    assert not all(torch.equal(engines.temporary[1][name], base[name]) for name in base)


def test_an_adapter_that_is_trained_further_generates_from_the_first_step(small, store):
    study = small(
        *("pairs.teachers=[words]", "conditions={off-model: }", "seeds=[1]", TRAIN, PROBLEMS),
        "recoveries.own={kind: grpo, conditions: [off-model], budgets: [1]}",
        "recoveries.own.train={objective: {kind: grpo, num_generations: 2}}",
    )
    whole = build_plan(study).trials[0].points[-1].student
    engines = Engines(store, whole)
    start = do(store, whole.inputs["start"], engines)
    run(begin(store, whole, engines))
    assert engines.weights[-1].temporary
    expected = load_file(start / ADAPTER)
    assert all(torch.equal(engines.temporary[-1][name], expected[name]) for name in expected)


def test_rewards_are_the_scores_of_the_problems_grader(stage, store):
    whole = stage(*GRPO)
    engines = Engines(store, whole)
    folder = do(store, whole, engines)
    levels = {row["problem"]: row["level"] for row in problems_of(whole)}
    right = [[min(levels[prompt] - 1, 3) for prompt in prompts] for prompts in engines.prompts]
    assert len({tuple(each) for each in right}) > 1
    watched = lines(folder)
    assert [line["reward"] for line in watched] == pytest.approx([sum(each) / 12 for each in right])
    assert [line["frac_reward_zero_std"] for line in watched] == [sum(n in (0, 3) for n in each) / 4 for each in right]
    assert [line["mean_length"] for line in watched] == [6.0] * 4
    assert all(line["grad_norm"] > 0 for line in watched)


def test_every_seed_of_a_study_samples_other_completions(stage, store):
    seeds = []
    for seed in (1, 2):
        whole = stage(*GRPO, f"seeds=[{seed}]")
        engines = Engines(store, whole)
        do(store, whole, engines)
        seeds += engines.seeds
    assert len(seeds) == len(set(seeds)) == 8


@pytest.mark.parametrize("every", [1, 2])
def test_steps_that_share_a_sampling_have_old_log_probabilities(stage, store, monkeypatch, every):
    whole = stage(*GRPO, f"train.steps_per_generation={every}")
    engines, token_loss, apart = Engines(store, whole), grpo.token_loss, []

    def watched(tokens, options):
        old = tokens.columns.get("old_logprob")
        if old is not None:
            now = log_prob(tokens.logits_T_V / options.temperature, tokens.targets_T)
            apart.append(float((now.detach() - old).abs().max()))
        return token_loss(tokens, options)

    monkeypatch.setattr(grpo, "OBJECTIVE", replace(grpo.OBJECTIVE, token_loss=watched))
    folder = do(store, whole, engines)
    assert [line["staleness"] for line in lines(folder)] == ([0, 0, 0, 0] if every == 1 else [0, 1, 0, 1])
    assert [len(prompts) for prompts in engines.prompts] == ([4] * 4 if every == 1 else [8, 8])
    assert [value > 1e-3 for value in apart] == ([] if every == 1 else [False, True, False, True])


def test_an_attempt_that_resumes_within_a_sampling_samples_the_rest_again(stage, store, another, preempted):
    whole = stage(*GRPO, "train.steps_per_generation=2")
    undisturbed = Engines(another, whole)
    do(another, whole, undisturbed)
    preempted(at=0)
    engines = Engines(store, whole)
    with pytest.raises(SystemExit):
        run(begin(store, whole, engines))
    folder = do(store, whole, engines, attempt="two")
    first, second = undisturbed.prompts
    assert engines.prompts == [first, first[4:], second]
    assert len(set(engines.seeds)) == 3
    assert [line["staleness"] for line in lines(folder)] == [0, 0, 0, 1]


def test_a_training_whose_processes_could_not_be_started_is_tried_again(stage, store, monkeypatch):
    fit, errors = TorchTrainer.fit, [ControllerError(TimeoutError("no nodes")), ControllerError(ValueError("wrong"))]

    def failing(trainer):
        if errors:
            raise errors.pop(0)
        return fit(trainer)

    work = begin(store, stage("resources.retries=1"))
    monkeypatch.setattr(TorchTrainer, "fit", failing)
    with pytest.raises(ValueError, match="wrong"):
        run(work)
    run(work)
    assert [line["step"] for line in lines(work.out)] == [0, 1, 2, 3]


def test_a_permanent_error_is_the_cause_of_several_failures():
    full, lost = ValueError("no space left"), RuntimeError("connection closed by peer")
    assert _cause([lost, UserExceptionWithTraceback(full, "")]) is full
    assert _cause([lost, OSError("no route")]) is lost
