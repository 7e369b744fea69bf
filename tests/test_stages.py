"""Stages run in this process, with a function in the place of the engines."""

import json

import pytest

from evaluators.engine import Answer, Reply
from orchestrator.data import read_prompts
from orchestrator.plan import unfold
from orchestrator.stages import evaluate, model, sample
from orchestrator.stages.train import _choose
from orchestrator.store import Store
from orchestrator.work import Weights, Work, checkpoint_of
from organisms import shipped


def ask(engine, weights, chats, decoding, openings):
    """Answers every chat by its last word, cut off where that is one of two."""
    replies = []
    for i, chat in enumerate(chats):
        opening = tuple(openings[i]) if openings else ()
        word = chat[-1]["content"].split()[-1]
        answer = Answer((*opening, 10, 11, 12), f"{word} \\boxed{{ 4 }}", cut_off=word in ("fox", "owl"))
        replies.append(Reply((1,), opening, (answer,)))
    return replies


@pytest.fixture
def plan(small):
    return unfold(small())


@pytest.fixture
def store(plan):
    return Store(plan.study.store)


@pytest.fixture
def perform(store):
    """Runs a stage and publishes what it left; returns its facts and its folder."""

    def act(run, stage, ask=ask):
        work = Work(stage, store, store.new_folder(stage, "one"), ask)
        facts = run(work)
        store.publish(stage, work.out, "one", {"facts": facts})
        return facts, store.folder(stage.address, store.record(stage))

    return act


def remembering(asked: list):
    """`ask`, which also notes what it is asked with."""

    def act(engine, weights, chats, decoding, openings):
        asked.append((weights, decoding, openings))
        return ask(engine, weights, chats, decoding, openings)

    return act


def test_an_organism_is_unpacked(plan, store, perform):
    stage = next(s for s in plan.stages if s.kind == "model")
    _, folder = perform(model.run, stage)
    assert checkpoint_of(store, stage.address) == str(folder)
    for name in shipped.checksums("steps"):
        assert (folder / name).read_bytes() == (shipped.FOLDER / "steps" / name).read_bytes()


def test_a_local_checkpoint_is_referred_to(small, store, perform):
    plan = unfold(small(f"models.student={shipped.FOLDER / 'steps'}"))
    stage = next(s for s in plan.stages if s.kind == "model" and s.name == "local")
    perform(model.run, stage)
    assert checkpoint_of(store, stage.address) == str(shipped.FOLDER / "steps")
    assert store.record(stage)["files"] == {}


def test_answers_are_written_with_their_prompts_and_cut_off_ones_teach_nothing(plan, perform):
    stage = next(s for s in plan.stages if s.kind == "sample")
    facts, folder = perform(sample.run, stage)
    rows = [json.loads(line) for line in (folder / sample.ANSWERS).read_text().splitlines()]
    assert [row["prompt"] for row in rows] == read_prompts(plan.study.prompts)
    assert [row["text"].split()[0] for row in rows] == [row["prompt"][-1]["content"].split()[-1] for row in rows]
    cut = sum(row["cut_off"] for row in rows)
    assert 0 < cut < len(rows) == facts["n"]
    assert facts["cut_off"] == cut / len(rows)
    assert facts["tokens"] == 3 * len(rows)
    assert sample.read_chats(folder) == [
        [*row["prompt"], {"role": "assistant", "content": row["text"]}] for row in rows if not row["cut_off"]
    ]


def test_a_larger_budget_holds_the_answers_of_a_smaller_one():
    chats = [[{"role": "user", "content": str(i)}] for i in range(2000)]
    assert _choose(chats, 1000, seed=1)[:200] == _choose(chats, 200, seed=1)
    assert _choose(chats, 10, seed=1) != _choose(chats, 10, seed=2)
    assert _choose(chats, 10, seed=1) != chats[:10]
    assert _choose(chats, None, seed=1) == chats
    with pytest.raises(ValueError, match="a budget of 2001 samples needs more than the 2000 answers"):
        _choose(chats, 2001, seed=1)


def test_an_evaluation_is_graded_and_shown_by_level(plan, perform):
    stage, asked = plan.trials[0].original["maths"], []
    facts, folder = perform(evaluate.run, stage, remembering(asked))
    examples = evaluate.examples_of(folder)
    assert len(examples) == facts["n"] == 5
    assert facts["accuracy"] == sum(example.correct for example in examples) / 5
    assert facts["groups"] == {"level": {str(e.group["level"]): float(e.correct) for e in examples}}
    ((weights, decoding, openings),) = asked
    assert weights == Weights(stage.inputs["base"].address, None)
    assert (decoding.max_tokens, decoding.temperature, openings) == (16, 0.0, None)


def test_a_prefilled_answer_begins_with_the_original_students_tokens(plan, store, perform, publish):
    stage, asked = next(t for t in plan.trials if t.condition == "prefill").steps[0].scores["maths"], []
    publish(store, stage.inputs["base"], {})
    publish(store, stage.inputs["student"], {}, weights="adapter")
    perform(evaluate.run, stage.inputs["opening"])
    perform(evaluate.run, stage, remembering(asked))
    ((weights, _, openings),) = asked
    assert weights == Weights(stage.inputs["base"].address, stage.inputs["student"].address)
    assert [list(opening) for opening in openings] == [[10, 11]] * 5


def test_full_weights_are_asked_as_a_checkpoint_of_their_own(plan, store, publish, tmp_path):
    stage = next(t for t in plan.trials if t.condition == "off-model").steps[0].scores["maths"]
    publish(store, stage.inputs["base"], {})
    publish(store, stage.inputs["student"], {}, weights="checkpoint")
    assert Work(stage, store, tmp_path, ask).weights == Weights(stage.inputs["student"].address, None)


def test_a_stage_is_not_run_before_its_inputs(plan, store, publish, tmp_path):
    stage = next(t for t in plan.trials if t.condition == "off-model").steps[0].scores["maths"]
    publish(store, stage.inputs["base"], {})
    with pytest.raises(AssertionError, match="before its input student was done"):
        evaluate.run(Work(stage, store, tmp_path, ask))
