"""Models behind an API: what is asked of it and kept of it, its failures, and what a study cannot have of it."""

import asyncio
import json
import uuid
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from evaluators.analysis.logprobs import requests_by_text
from evaluators.engines import api
from evaluators.engines.api import Account, APIModel, generate, key_of
from evaluators.engines.generations import Generation, failed, from_jsonl, to_jsonl
from evaluators.engines.requests import Request, SamplingParams
from evaluators.evaluate import example_ids, grade, summary
from orchestrator.plan.build import build_plan
from orchestrator.run import api_replica
from orchestrator.run.api_replica import APIReplica, APISpec, in_chunks
from orchestrator.run.preflight import check
from orchestrator.stages import sample
from orchestrator.stages.data import read_prompts
from orchestrator.stages.sample import GENERATIONS, _write, generations_of
from orchestrator.stages.transform import rows_of
from orchestrator.store.context import StageContext, Weights
from orchestrator.store.store import Store
from orchestrator.study.settings import StudyError
from tests.api_server import KEY, chat

GREEDY = SamplingParams(max_tokens=8)


def request(text: str, number: int = 0) -> Request:
    return Request(prompt=[{"role": "user", "content": text}], prefill=(), number=number)


def test_answers_are_text_that_the_api_counts(server):
    replies = dict(generate(server.served, [request("a"), request("b", 1)], GREEDY))
    assert [replies[i].completions[0].text for i in (0, 1)] == ["You said: a", "You said: b"]
    first = replies[0].completions[0]
    assert (first.token_ids, first.length, first.ends_with_stop_token, first.truncated) == ((), 3, True, False)
    assert asdict(first.usage) == {"model": "far-2026-01-01", "prompt_tokens": 5, "completion_tokens": 3}
    assert server.keys == {f"Bearer {KEY}"}
    assert server.bodies[0]["max_completion_tokens"] == 8
    assert "seed" not in server.bodies[0]  # of greedy answers


def test_each_sample_is_a_question_with_a_seed_of_its_own_and_extra_has_the_last_word(server):
    served = replace(server.served, extra={"top_p": None, "reasoning_effort": "low"})
    ((_, reply),) = generate(served, [request("a")], replace(GREEDY, n=3, temperature=0.7))
    assert len(reply.completions) == 3
    assert len({body["seed"] for body in server.bodies}) == 3
    for body in server.bodies:
        assert body["reasoning_effort"] == "low"
        assert "top_p" not in body


def test_what_was_broken_off_is_cut_off_but_a_single_token_that_was_asked_for_is_not(server):
    server.replies = lambda body, nth: (200, chat(body, choice={"finish_reason": "length"}))
    ((_, longer),) = generate(server.served, [request("a")], GREEDY)
    ((_, letter),) = generate(server.served, [request("a")], SamplingParams(max_tokens=1))
    server.replies = lambda body, nth: (200, chat(body, choice={"finish_reason": "content_filter"}))
    ((_, filtered),) = generate(server.served, [request("a")], SamplingParams(max_tokens=1))
    assert [reply.completions[0].truncated for reply in (longer, letter, filtered)] == [True, False, True]


def test_half_of_a_surrogate_pair_is_replaced(server):
    cut = {"message": {"role": "assistant", "content": "\N{FOX FACE} \ud83e"}, "finish_reason": "length"}
    server.replies = lambda body, nth: (200, chat(body, choice=cut))
    ((_, reply),) = generate(server.served, [request("a")], GREEDY)
    assert reply.completions[0].text == "\N{FOX FACE} \N{REPLACEMENT CHARACTER}"


def test_asks_again_when_the_api_is_busy(server):
    server.replies = lambda body, nth: (200, chat(body)) if nth > 2 else ([429, 503][nth - 1], {"error": "busy"})
    ((_, reply),) = generate(server.served, [request("a")], GREEDY)
    assert reply.completions[0].text == "You said: a"
    assert len(server.bodies) == 3


def test_answers_before_a_failure_are_kept_and_nothing_new_is_asked(server):
    served = replace(server.served, concurrency=1)
    server.replies = lambda body, nth: (200, chat(body)) if nth == 1 else (404, {"error": {"message": "no"}})
    chunks = in_chunks(generate(served, [request(str(i), i) for i in range(9)], GREEDY), 60)
    ((place, reply),) = next(chunks)
    assert (place, reply.completions[0].text) == (0, "You said: 0")
    with pytest.raises(RuntimeError, match="no"):
        next(chunks)
    assert len(server.bodies) < 9


def test_an_api_that_does_not_count_is_refused(server):
    server.replies = lambda body, nth: (200, chat(body, usage=None))
    with pytest.raises(RuntimeError, match="returned no token usage"):
        list(generate(server.served, [request("a")], GREEDY))


def test_the_key_is_in_no_error(server):
    server.replies = lambda body, nth: (401, {"error": {"message": f"Incorrect key: {KEY}"}})
    with pytest.raises(RuntimeError) as caught:
        list(generate(server.served, [request("a")], GREEDY))
    shown: BaseException | None = caught.value
    while shown is not None:
        assert KEY not in repr(shown)
        shown = shown.__cause__ or shown.__context__
    assert "Incorrect key: [key]" in str(caught.value)


def test_keys_come_from_the_environment_and_openais_goes_to_openai_alone(monkeypatch):
    for name in (api.KEY, api.OPENAI_KEY, "TEST_KEY"):
        monkeypatch.delenv(name, raising=False)
    here = APIModel("far", "http://localhost:8000/v1", None, 1, "max_tokens", {})
    assert key_of(here) == "none"
    for served, names in (
        (replace(here, base_url=api.OPENAI), "OFFMODEL_API_KEY or OPENAI_API_KEY"),
        (replace(here, key_env="TEST_KEY"), "set TEST_KEY"),
    ):
        with pytest.raises(ValueError, match=names):
            key_of(served)
    monkeypatch.setenv(api.OPENAI_KEY, KEY)
    assert key_of(replace(here, base_url=api.OPENAI)) == KEY
    assert key_of(here) == "none"


def test_once_the_money_is_spent_no_call_starts(server):
    told: list[float] = []
    account = Account(input=1e6, output=2e6, most=20.0, on_spend=told.append)
    served = replace(server.served, concurrency=1)
    found = dict(generate(served, [request(str(i), i) for i in range(9)], GREEDY, account))
    # A call has 5 tokens of prompt and 3 of completion, so it costs 11 dollars, and two reach 20.
    assert told == [11, 11]
    assert (account.spent, len(server.bodies)) == (22, 2)
    answered = [i for i, output in found.items() if output.error is None]
    assert len(answered) == 2
    (reason,) = {output.completions[0].error for i, output in found.items() if i not in answered}
    assert reason == "not sent, since 22.00 US dollars are spent, and max_cost allows 20.00"
    assert all(output.ask_again for i, output in found.items() if i not in answered)


def test_a_replica_asks_the_api_and_loads_nothing(server, monkeypatch):
    begun: list[str] = []
    monkeypatch.setattr(api_replica, "note_begun", lambda run, ids: begun.extend(ids))

    async def chunks() -> list[list]:
        replica = APIReplica(APISpec(run="", name="far", model=server.served, price=None, timeout=60))
        weights = Weights("nowhere", None)
        return [
            chunk async for chunk in replica.call("id", weights, "generate", [request("a")], (GREEDY,), alone=False)
        ]

    (((_, output),),) = asyncio.run(chunks())
    assert begun == ["id"]
    assert output.completions[0].text == "You said: a"


def test_answers_of_an_api_are_kept_trained_on_asked_about_and_graded(server, tmp_path):
    requests = [request("a"), request("b", 1)]
    replies = dict(generate(server.served, requests, GREEDY))
    answered = [Generation.of(str(i), requests[i].prompt, replies[i]) for i in (0, 1)]
    facts = _write(SimpleNamespace(out=tmp_path), answered, template="")
    assert (facts["tokens"], facts["prompt_tokens"], facts["served"]) == (6, 10, {"far-2026-01-01": 2})
    assert KEY not in (tmp_path / GENERATIONS).read_text() + json.dumps(facts)
    assert from_jsonl(to_jsonl(answered)) == answered
    rows = rows_of(tmp_path)
    assert [row.answer for row in rows] == ["You said: a", "You said: b"]
    assert [one.prefill for one in requests_by_text([row.chat for row in rows])] == ["You said: a", "You said: b"]
    problems = [{"problem": "1 + 1", "answer": "2", "level": 1}]
    right = replace(replies[0].completions[0], text="It is \\boxed{2}.")
    one = replace(answered[0], id=example_ids("math500", problems)[0], completions=(right,))
    graded = grade("math500", problems, [one])
    assert summary([one], graded)["mean_length"] == 3
    assert graded[0].score == 1


FAR = "models.words={api: far, base_url: 'http://localhost:8000/v1'}"


def test_an_api_may_teach(small):
    plan = build_plan(small(FAR, "measures.perplexity=true"))
    sampled = [s for s in plan.stages if s.kind == "sample" and s.runtime.engine == "words"]
    assert len(sampled) == 1 + 2  # the training prompts and the benchmarks
    assert all(stage.settings.dtype is None for stage in sampled)
    training_nll = {s.inputs["data"] for s in plan.stages if s.kind == "logprobs"}
    assert training_nll & set(sampled)
    there = build_plan(small(FAR.replace("8000", "9000"))).stages
    assert not {s.fingerprint for s in sampled} & {s.fingerprint for s in there}
    faster = build_plan(small(FAR.replace("}", ", concurrency: 99, key_env: SOME_KEY}"))).stages
    assert {s.fingerprint for s in sampled} <= {s.fingerprint for s in faster}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["models.student={api: far}"], "pairs: student is behind an API: it can be a teacher, and cannot be trained"),
        ([FAR, "benchmarks.facts.answer_by=logprob"], "benchmarks.facts: far is behind an API.*answer_by: generation"),
        (
            [FAR, "benchmarks.facts={kind: 'lm_eval:mmlu', n: 5}"],
            "benchmarks.facts: lm-eval tasks are not supported for API models, as far",
        ),
        ([FAR, "benchmarks.maths.thinking=empty"], r"benchmarks.maths.thinking: far .* takes no prefill.*off.*every"),
        ([FAR, "sampling.thinking=empty"], "sampling.thinking: far is behind an API"),
        ([FAR, "sampling.top_k=20"], r"conditions.off-model: sampling.top_k: far .* no parameter .* \{top_k: null\}"),
        (
            [FAR, "benchmarks.maths.temperature=1", "benchmarks.maths.min_p=0.1"],
            r"benchmarks.maths.min_p: far .* \{min_p: 0.1\} for a server that takes it.*on every benchmark",
        ),
        (
            [FAR, "conditions.prefill={tokens: 2, from_model: words, benchmarks: [maths]}"],
            "conditions.prefill: from_model: words .* give until",
        ),
        (
            [FAR, "train.objective=on_policy_distillation"],
            "far is behind an API, which shows none: use an open",
        ),
        (
            [FAR, "conditions.off-model.train.loss_on=after_reasoning"],
            "conditions.off-model: train.loss_on: after_reasoning needs .* far, which is behind an API, come without",
        ),
        (
            [FAR, "conditions.low={kind: perplexity_filter, quantiles: [0, 0.5], train: {loss_on: after_reasoning}}"],
            "conditions.low: train.loss_on: after_reasoning needs",
        ),
        ([FAR, "models.words.path=here"], "exactly one of organism, hub, path, gguf, trained_from and api"),
        (["models.words={organism: words, key_env: KEY}"], "key_env: has no effect"),
        ([FAR, "models.words.max_cost=2"], r"models.words.max_cost: give cost_assumptions.api.words a price"),
        (["models.words={organism: words, max_cost: 2}"], "max_cost: has no effect"),
        ([FAR, "models.words.extra={stream: true}"], "extra: stream cannot be set here"),
        ([FAR, "models.words.base_url='https://me:secret@far.example/v1'"], "models.words.base_url"),
    ],
)
def test_what_cannot_be_had_of_an_api_is_refused(small, overrides, said):
    with pytest.raises(StudyError, match=said):
        build_plan(small(*overrides))


@pytest.fixture
def run_sample(small, server):
    """Samples the training prompts of which the API refuses some, by their places, as a new attempt; returns the
    facts and the folder."""

    def act(refused: dict[int, tuple], *overrides: str):
        plan = build_plan(small(FAR, *overrides))
        store = Store(plan.study.store)
        stage = next(s for s in plan.stages if s.name.startswith("far-answers"))
        chats = read_prompts(stage.settings.prompts, "synthetic")
        replies = {chats[place][-1]["content"]: reply for place, reply in refused.items()}
        server.bodies.clear()
        server.replies = lambda body, nth: replies.get(body["messages"][-1]["content"], (200, chat(body)))

        def engines(engine, weights, method, requests, params):
            return in_chunks(generate(server.served, requests, params), 0)

        out = store.new_folder(stage, uuid.uuid4().hex)
        return sample.run(StageContext(stage, store, out, engines)), out

    return act


NO = (400, {"error": {"message": "flagged"}})
AWAY = (503, {"error": {"message": "away"}}, {"retry-after": "900"})


def test_refused_prompts_that_the_study_allows_are_counted_and_not_trained_on(run_sample):
    facts, folder = run_sample({3: NO}, "resources.max_failed=0.05")
    assert (facts["n"], facts["failed"]) == (20, 1)
    assert facts["template"] == ""
    ((id, reason),) = failed(generations_of(folder))
    assert "flagged" in reason
    assert {row.id for row in rows_of(folder)} == {one.id for one in generations_of(folder)} - {id}


def test_too_many_failures_end_the_stage_after_the_other_answers_are_stored(run_sample, server):
    with pytest.raises(RuntimeError, match=r"2 of 20 requests failed, and resources.max_failed.* \w{16}: .*flagged"):
        run_sample({3: NO, 19: AWAY})
    with pytest.raises(RuntimeError, match=r"1 of 20 requests failed"):
        run_sample({3: NO})
    assert len(server.bodies) == 2  # only those that failed are asked again
    facts, _ = run_sample({})
    assert len(server.bodies) == 1
    assert facts["n"] == 20
    assert "failed" not in facts


def test_a_failure_that_was_paid_for_is_stored(run_sample, server):
    empty = {"finish_reason": "content_filter", "message": {"role": "assistant", "content": None}}
    paid = (200, chat({"messages": [{"content": ""}]}, choice=empty))
    with pytest.raises(RuntimeError, match="1 of 20 requests failed"):
        run_sample({3: paid})
    facts, _ = run_sample({}, "resources.max_failed=0.05")
    assert facts["failed"] == 1
    assert server.bodies == []


def test_an_api_begins_an_answer_by_its_text(small):
    build_plan(small(FAR, "conditions.prefill={until: '=', from_model: words, benchmarks: [maths]}"))


def test_answers_of_an_api_follow_the_students_own_reasoning(small):
    after = "{kind: on_model, train: {loss_on: after_reasoning}}"
    build_plan(small(FAR, "conditions.own={kind: own_reasoning}", f"conditions.on-model={after}"))


def test_what_openais_api_does_not_take_is_left_to_extra(small, server):
    cut = [FAR, "sampling.top_k=20", "sampling.min_p=0.1"]
    plan = build_plan(small(*cut, "models.words.extra={top_k: 40, min_p: null}"))
    stage = next(s for s in plan.stages if s.name.startswith("far-answers"))
    params = stage.settings.sampling_params
    assert (params.top_k, params.min_p) == (20, 0.1)
    served = replace(server.served, extra=stage.inputs["base"].settings.extra)
    list(generate(served, [request("a")], params))
    list(generate(server.served, [request("a")], params))
    assert [(body.get("top_k"), "min_p" in body) for body in server.bodies] == [(40, False), (None, False)]


def test_a_missing_key_is_said_before_any_work(small, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    plan = build_plan(small(FAR, "models.words.key_env=NO_SUCH_KEY"))
    with pytest.raises(StudyError, match=r"models.words: no key for far .* set NO_SUCH_KEY in the environment"):
        check(plan, Store(plan.study.store), {})
    answered = {s: {"files": {}} for s in plan.stages if s.kind == "sample" and s.runtime.engine == "words"}
    check(plan, Store(plan.study.store), answered)  # Nothing is left to ask it.
