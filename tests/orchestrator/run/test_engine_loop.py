"""The loop of a replica, turn by turn, on a real engine: which calls run together, and when base weights change."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from evaluators.engines.requests import Request, SamplingParams
from evaluators.engines.vllm_engine import Engine, EngineFailed
from orchestrator.run.engine_loop import PATIENCE, Call, EngineLoop
from orchestrator.run.streams import Settings
from organisms import shipped

pytestmark = pytest.mark.slow

STEPS, WORDS, TERSE = (str(shipped.FOLDER / name) for name in ("steps", "words", "terse"))
LONG, SHORT = 40, 2  # tokens


class Received:
    """In the place of a stream: it keeps what it is given."""

    def __init__(self) -> None:
        self.chunks: list = []
        self.closed = False

    def put(self, chunk) -> None:
        if isinstance(chunk, Settings):
            self.settings = chunk.values
        else:
            self.chunks.append(chunk)

    @property
    def texts(self) -> list[str]:
        *chunks, end = self.chunks
        assert end is None, "the call has not ended, or has failed"
        outputs = dict(result for chunk in chunks for result in chunk)
        return [outputs[i].completions[0].text for i in range(len(outputs))]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(STEPS, "float32", max_model_len=128, threads=1)


@pytest.fixture
def driven(engine, monkeypatch):
    """A loop whose clock and turns the test drives; `bases` are those that were loaded, in order."""
    engine.load(STEPS)
    made = SimpleNamespace(now=0.0, bases=[], begun=[])
    made.loop = EngineLoop(lambda base: engine, made.begun.extend, lambda: made.now)
    load = engine.load

    def noted(base: str) -> None:
        if base != engine.checkpoint:
            made.bases.append(base)
        load(base)

    monkeypatch.setattr(engine, "load", noted)

    def call(
        base: str,
        *texts: str,
        max_tokens: int = LONG,
        priority: int = 0,
        adapter: Path | None = None,
        alone: bool = False,
    ) -> Received:
        stream, texts = Received(), texts or ("describe red fox",)
        made.loop.submit(
            Call(
                id=str(id(stream)),
                base=base,
                adapter=adapter,
                method="generate",
                requests=[
                    Request(prompt=[{"role": "user", "content": text}]) for text in texts or ["describe red fox"]
                ],
                arguments=(SamplingParams(max_tokens=max_tokens),),
                must_differ=True,
                priority=priority,
                alone=alone,
                stream=stream,
                since=made.now,
            )
        )
        return stream

    def finish() -> None:
        while made.loop._running or made.loop._waiting:
            made.loop.turn()

    made.call, made.finish = call, finish
    yield made
    assert engine.idle


def alone(driven, base: str, *texts: str) -> list[str]:
    stream = driven.call(base, *texts)
    driven.loop.turn()
    driven.finish()
    return stream.texts


def test_a_call_begins_while_others_run(driven):
    first = driven.call(STEPS)
    for _ in range(3):
        driven.loop.turn()
    second = driven.call(STEPS, "describe big owl")
    driven.loop.turn()
    assert len(driven.loop._running) == 2
    driven.finish()
    assert first.settings["dtype"] == "float32"
    assert first.settings["max_model_len"] == 128
    assert first.texts + second.texts == alone(driven, STEPS) + alone(driven, STEPS, "describe big owl")


def test_an_idle_engine_loads_the_base_of_the_most_waiting_requests(driven):
    calls = [driven.call(WORDS), driven.call(TERSE, "describe red fox", "describe big owl"), driven.call(WORDS)]
    calls.append(driven.call(WORDS))
    driven.loop.turn()
    driven.finish()
    assert driven.bases == [WORDS, TERSE]
    assert all(call.texts for call in calls)


def test_rollouts_go_before_the_most_requests(driven):
    driven.call(WORDS, "describe red fox", "describe big owl")
    driven.call(TERSE, priority=-1)
    driven.loop.turn()
    driven.finish()
    assert driven.bases == [TERSE, WORDS]


def test_other_base_weights_wait_until_the_engine_is_idle(driven):
    first = driven.call(STEPS)
    driven.loop.turn()
    other = driven.call(WORDS, "describe red fox", "describe big owl")
    driven.now += PATIENCE - 1
    joined = driven.call(STEPS)
    driven.loop.turn()
    driven.finish()
    assert driven.bases == [WORDS]
    assert first.texts == joined.texts == alone(driven, STEPS)
    assert other.texts == alone(driven, WORDS, "describe red fox", "describe big owl")


def test_a_call_that_has_waited_long_goes_before_new_ones(driven):
    running = driven.call(STEPS)
    driven.loop.turn()
    waiting = driven.call(WORDS)
    driven.loop.turn()
    driven.now += PATIENCE + 1
    new = driven.call(STEPS, "describe red fox", "describe big owl")
    while not running.chunks or running.chunks[-1] is not None:
        driven.loop.turn()
        assert len(driven.loop._running) <= 1
    driven.finish()
    assert driven.bases == [WORDS, STEPS]
    assert waiting.texts
    assert new.texts


def test_a_call_that_runs_alone_waits_for_an_idle_engine_and_shares_it_with_none(driven):
    running = driven.call(STEPS)
    driven.loop.turn()
    suspect, second, new = (
        driven.call(STEPS, "describe big owl", alone=True),
        driven.call(STEPS, "describe big fox", alone=True),
        driven.call(STEPS, "describe red owl"),
    )
    seen = set()
    while driven.loop._running or driven.loop._waiting:
        driven.loop.turn()
        calls = list(driven.loop._running.values())
        seen |= {call.alone for call in calls}
        assert len(calls) == 1 or not any(call.alone for call in calls)
        assert running.chunks or str(id(suspect)) not in driven.begun, "it began beside another call"
    assert seen == {True, False}
    assert [call.texts for call in (suspect, second, new)] == [
        alone(driven, STEPS, f"describe {what}") for what in ("big owl", "big fox", "red owl")
    ]


def test_a_call_that_runs_alone_is_not_put_off_for_ever(driven):
    running = driven.call(STEPS)
    driven.loop.turn()
    suspect = driven.call(STEPS, "describe big owl", alone=True)
    driven.now += PATIENCE + 1
    later = driven.call(STEPS, "describe red owl")
    while str(id(suspect)) not in driven.begun:
        driven.loop.turn()
    assert running.chunks
    assert str(id(later)) not in driven.begun
    driven.finish()
    assert later.texts


def test_a_call_whose_caller_is_gone_is_dropped(driven):
    gone, waiting_and_gone, kept = driven.call(STEPS), driven.call(WORDS), driven.call(STEPS)
    driven.loop.turn()
    gone.closed = waiting_and_gone.closed = True
    driven.finish()
    assert kept.texts == alone(driven, STEPS)
    assert gone.chunks == waiting_and_gone.chunks == []
    assert driven.bases == []


def test_a_dropped_call_whose_adapter_is_being_checked_does_not_break_the_next_load(monkeypatch, driven, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    config = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(STEPS), config).save_pretrained(tmp_path / "train" / "one")
    own = Engine(STEPS, "float32", max_model_len=128, lora_rank=8, threads=1)
    loop = EngineLoop(lambda base: own, driven.begun.extend)
    monkeypatch.setattr(driven, "loop", loop)
    dropped = driven.call(STEPS, adapter=tmp_path / "train" / "one")
    loop._receive()
    loop._begin()
    dropped.closed = True
    other = driven.call(WORDS)
    while not other.chunks:
        loop.turn()
    assert other.texts == alone(driven, WORDS)
    assert dropped.chunks == []


def test_a_call_that_the_engine_refuses_fails_alone(driven):
    refused, kept = driven.call(STEPS, "fox " * 200), driven.call(STEPS)
    driven.loop.turn()
    driven.finish()
    assert kept.texts == alone(driven, STEPS)
    (error,) = refused.chunks
    assert "context of 128" in str(error)


def test_results_from_before_a_failure_are_kept(driven, monkeypatch):
    own = Engine(STEPS, "float32", max_model_len=128, threads=1)
    loop = EngineLoop(lambda base: own, driven.begun.extend)
    monkeypatch.setattr(driven, "loop", loop)
    calls = [driven.call(STEPS, max_tokens=tokens) for tokens in (SHORT, LONG)]
    both = driven.call(STEPS, "describe red fox", "solve : start 3 , + 4 , * 2")
    while len(loop._running) != 2:
        loop.turn()

    def failing():
        raise MemoryError("in a step")

    monkeypatch.setattr(own._llm.llm_engine, "step", failing)
    with pytest.raises(EngineFailed, match="MemoryError: in a step"):
        loop.run()
    assert calls[0].texts
    assert [chunk for chunk in calls[1].chunks if chunk] == []
    assert all(isinstance(chunk, list) for chunk in both.chunks)
