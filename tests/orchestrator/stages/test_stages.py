"""Stages run in this process, with a function in the place of the engines."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer

from evaluators.engines.requests import Completion, RequestOutput, TokenLogprobs
from orchestrator.plan.build import build_plan
from orchestrator.stages import evaluate, logprobs, model, sample
from orchestrator.stages.data import PromptData, read_prompts
from orchestrator.stages.training.examples import choose
from orchestrator.stages.training.rollouts import rewarding
from orchestrator.stages.transform import rows_of
from orchestrator.store.checkpoints import checkpoint_of, folder_checksums
from orchestrator.store.context import StageContext, Weights
from orchestrator.store.store import Store
from organisms import shipped
from organisms.rows import benchmark_rows


def ask(engine, weights, what, requests, *how):
    """Answers every chat by its last word, cut off where that is one of two; the last first, and one in a chunk."""
    for i, request in reversed(list(enumerate(requests))):
        if what == "score":
            yield [
                (i, TokenLogprobs(token_ids=(1, 2, 3), logprobs=(-1.0, -2.0, -3.0), greedy=(True,) * 3, answer_start=2))
            ]
            continue
        opening = tuple(request.prefill)
        word = request.prompt[-1]["content"].split()[-1]
        answer = Completion(
            token_ids=(*opening, 10, 11, 12),
            text=f"{word} \\boxed{{ 4 }}",
            truncated=word in ("fox", "owl"),
            ends_with_stop_token=word not in ("fox", "owl"),
        )
        yield [
            (
                i,
                RequestOutput(
                    prompt_token_ids=(1,),
                    prefill_token_ids=opening,
                    completions=(answer,),
                    template_digest="digest",
                ),
            )
        ]


@pytest.fixture
def plan(small):
    return build_plan(small())


@pytest.fixture
def store(plan):
    return Store(plan.study.store)


@pytest.fixture
def perform(store):
    """Runs a stage and publishes what it left; returns its facts and its folder."""

    def act(run, stage, ask=ask):
        context = StageContext(stage, store, store.new_folder(stage, "one"), ask)
        facts = run(context)
        store.publish(stage, context.out, "one", {"facts": facts})
        return facts, store.folder(stage.address, store.record(stage))

    return act


def remembering(asked: list, ask=ask):
    """`ask`, which also notes what it is asked with."""

    def act(engine, weights, what, requests, *how):
        asked.append((weights, requests, *how))
        return ask(engine, weights, what, requests, *how)

    return act


def test_an_organism_is_unpacked(plan, store, perform):
    stage = next(s for s in plan.stages if s.kind == "model")
    _, folder = perform(model.run, stage)
    assert checkpoint_of(store, stage.address, None) == str(folder)
    for name in shipped.checksums("steps"):
        assert (folder / name).read_bytes() == (shipped.FOLDER / "steps" / name).read_bytes()


def test_a_local_checkpoint_is_referred_to(small, store, perform):
    plan = build_plan(small(f"models.student={shipped.FOLDER / 'steps'}"))
    stage = next(s for s in plan.stages if s.kind == "model" and s.name == "local")
    perform(model.run, stage)
    assert checkpoint_of(store, stage.address, stage.runtime.path) == str(shipped.FOLDER / "steps")
    assert store.record(stage)["files"] == {}


def test_a_local_checkpoint_is_read_where_the_study_has_it_and_only_unchanged(small, store, perform, tmp_path):
    """A model is copied, and then trained further in its first folder."""
    first, copy = tmp_path / "model", tmp_path / "model-v1"
    shutil.copytree(shipped.FOLDER / "steps", first)
    (stage,) = (s for s in build_plan(small(f"models.student={first}")).stages if s.name == "local")
    perform(model.run, stage)
    shutil.copytree(first, copy)
    (first / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    (later,) = (s for s in build_plan(small(f"models.student={copy}")).stages if s.name == "local")
    assert later == stage
    assert checkpoint_of(store, later.address, later.runtime.path) == str(copy)
    with pytest.raises(ValueError, match="model has changed since the study was planned"):
        checkpoint_of(store, stage.address, stage.runtime.path)
    (changed,) = (s for s in build_plan(small(f"models.student={first}")).stages if s.name == "local")
    assert changed != stage


@pytest.mark.parametrize("name", ["special_tokens_map.json", "merges.txt", "tokenizer.model", "chat_template.json"])
def test_every_file_that_may_change_a_model_identifies_it(tmp_path, name):
    (tmp_path / "config.json").write_text("{}")
    before = folder_checksums(tmp_path)
    for ignored in ("README.md", "LICENSE", "pytorch_model.bin", ".gitattributes"):
        (tmp_path / ignored).write_text("ignored")
    assert folder_checksums(tmp_path) == before
    (tmp_path / name).write_text("one")
    one = folder_checksums(tmp_path)
    (tmp_path / name).write_text("two")
    assert len({str(found) for found in (before, one, folder_checksums(tmp_path))}) == 3


PLANNED = [{"prompt": f"prompt {i}"} for i in range(4)]
PROBLEMS = [{"problem": f"{i} + 1", "answer": f"{i + 1}", "level": 1, "subject": "a", "unique_id": i} for i in range(4)]


@pytest.mark.parametrize("what", ["prompts", "benchmark", "grades"])
def test_a_file_that_changes_after_the_plan_is_refused(small, store, perform, tmp_path, what):
    prompts, problems = tmp_path / "prompts.jsonl", tmp_path / "problems.jsonl"
    for path, rows in ((prompts, PLANNED), (problems, PROBLEMS)):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = build_plan(
        small(
            f"prompts={{source: {prompts}, n: 4, column: prompt}}",
            f"benchmarks={{maths: {{kind: math500, source: {problems}, n: 4, prompt: '{{problem}}'}}}}",
        )
    )
    graded = plan.trials[0].untrained_scores["maths"]
    answered = graded.inputs["generations"]
    stage = next(s for s in plan.stages if isinstance(getattr(s.settings, "prompts", None), PromptData))
    if what == "grades":
        perform(sample.run, answered)
    changed = prompts if what == "prompts" else problems
    changed.write_text(changed.read_text().replace("1", "2"))
    run, stage = {
        "prompts": (sample.run, stage),
        "benchmark": (sample.run, answered),
        "grades": (evaluate.run, graded),
    }[what]
    with pytest.raises(ValueError, match=f"{changed.name} has changed since the study was planned"):
        perform(run, stage)
    assert store.record(stage) is None


def test_a_hub_data_set_is_read_at_the_commit_of_its_first_use(store, monkeypatch):
    read, heads = [], iter(["first", "second"])
    monkeypatch.setattr("huggingface_hub.dataset_info", lambda name, revision: SimpleNamespace(sha=next(heads)))
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **options: read.append(options["revision"]) or PLANNED)
    prompts = PromptData(source="hub:a/b", n=4, seed=1, system=None, split="train", column="prompt")
    for _ in range(2):
        assert len(read_prompts(prompts, "a/b", store)) == 4
    assert read == ["first", "first"]


def test_a_hub_that_cannot_be_reached_leaves_the_local_copy(store, monkeypatch, caplog):
    def offline(name, revision):
        raise ConnectionError("no network")

    read = []
    monkeypatch.setattr("huggingface_hub.dataset_info", offline)
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **options: read.append(options["revision"]) or PLANNED)
    read_prompts(PromptData(source="hub:a/b", n=4, seed=1, system=None, split="train", column="prompt"), "a/b", store)
    assert read == [None]
    assert "a/b: its commit is not known" in caplog.text


def test_answers_are_written_with_their_prompts_and_cut_off_ones_teach_nothing(plan, perform):
    stage = next(s for s in plan.stages if s.kind == "sample" and isinstance(s.settings.prompts, PromptData))
    facts, folder = perform(sample.run, stage)
    rows = [json.loads(line) for line in (folder / sample.GENERATIONS).read_text().splitlines()]
    assert [row["prompt"] for row in rows] == read_prompts(stage.settings.prompts, "synthetic")
    (answers,) = zip(*(row["completions"] for row in rows), strict=True)
    assert [one["text"].split()[0] for one in answers] == [row["prompt"][-1]["content"].split()[-1] for row in rows]
    cut = sum(one["truncated"] for one in answers)
    assert 0 < cut < len(rows) == facts["n"]
    assert facts["truncated"] == cut / len(rows)
    assert facts["tokens"] == 3 * len(rows)
    assert facts["template"] == "digest"
    assert [row.chat for row in rows_of(folder)] == [
        [*row["prompt"], {"role": "assistant", "content": one["text"]}]
        for row, one in zip(rows, answers, strict=True)
        if not one["truncated"]
    ]


def test_an_attempt_goes_on_where_the_last_one_was_cut_short(plan, store, perform):
    stage, asked = next(s for s in plan.stages if s.kind == "sample" and isinstance(s.settings.prompts, PromptData)), []

    def dying(engine, weights, what, requests, *how):
        for number, chunk in enumerate(ask(engine, weights, what, requests, *how)):
            if number == 5:
                raise OSError("the machine is gone")
            yield chunk

    with pytest.raises(OSError, match="gone"):
        sample.run(StageContext(stage, store, store.new_folder(stage, "first"), dying))
    _, folder = perform(sample.run, stage, remembering(asked))
    ((_, requests, _),) = asked
    n = plan.study.prompts.n
    assert [request.number for request in requests] == list(range(n - 5))  # the last five were there
    assert len(sample.generations_of(folder)) == n
    assert {path.name for path in folder.parent.iterdir()} == {"one", "record.json"}
    undisturbed = sample.run(StageContext(stage, store, store.new_folder(stage, "another"), ask))
    assert undisturbed == store.record(stage)["facts"]


def test_a_larger_budget_holds_the_answers_of_a_smaller_one():
    chats = [[{"role": "user", "content": str(i)}] for i in range(2000)]
    assert choose(chats, 1000, seed=1)[:200] == choose(chats, 200, seed=1)
    assert choose(chats, 10, seed=1) != choose(chats, 10, seed=2)
    assert choose(chats, 10, seed=1) != chats[:10]
    assert choose(chats, None, seed=1) == chats
    with pytest.raises(ValueError, match="a budget of 2001 samples needs more than the 2000 answers"):
        choose(chats, 2001, seed=1)
    assert choose(chats, 2001, seed=1, takes_fewer=True) == choose(chats, 2000, seed=1)


def test_what_becomes_of_a_short_budget_changes_no_address(small):
    def students(*overrides: str):
        trials = build_plan(small(*overrides)).trials
        return [point.student for trial in trials for point in trial.points if point.budget]

    skipping, shrinking = students(), students("recoveries.own.too_few_samples=shrink")
    assert [one.address for one in skipping] == [one.address for one in shrinking]
    assert ({one.runtime.takes_fewer for one in skipping}, {one.runtime.takes_fewer for one in shrinking}) == (
        {False},
        {True},
    )


UNREADABLE = [{"problem": f"{i} is", "answer": answer, "level": i} for i, answer in enumerate(("4", "\\frac{", "5"))]


def test_examples_with_an_unreadable_gold_answer_are_sampled_and_not_graded(small, perform, tmp_path):
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in UNREADABLE))
    plan = build_plan(
        small(f"benchmarks.maths={{kind: math500, source: {source}, n: all, max_tokens: 16, skip_unreadable: true}}")
    )
    stage = plan.trials[0].untrained_scores["maths"]
    sampled, _ = perform(sample.run, stage.inputs["generations"])
    facts, folder = perform(evaluate.run, stage, nobody)
    assert (sampled["n"], facts["n"], facts["skipped"], facts["accuracy"]) == (3, 2, 1, 0.5)
    assert {one.group["level"]: one.score for one in evaluate.grades_of(folder)} == {0: 1.0, 2: 0.0}
    (message,) = evaluate.skipped_of(folder)
    assert message.startswith("row '1 is': its gold answer '\\\\frac{' is not LaTeX")


def test_skipping_changes_the_address_of_grades_alone(small):
    def stages(*overrides: str) -> list[set[str]]:
        found = build_plan(small(*overrides)).stages
        graded = {stage.address for stage in found if stage.kind == "evaluate" and "math500" in stage.name}
        return [graded, {stage.address for stage in found} - graded]

    graded, others = stages()
    assert stages("benchmarks.maths.skip_unreadable=false") == [graded, others]
    skipping, others_then = stages("benchmarks.maths.skip_unreadable=true")
    assert (len(skipping), skipping & graded, others_then) == (len(graded), set(), others)


def test_an_evaluation_is_graded_and_shown_by_level(plan, perform):
    stage, asked = plan.trials[0].untrained_scores["maths"], []
    perform(sample.run, stage.inputs["generations"], remembering(asked))
    facts, folder = perform(evaluate.run, stage, nobody)
    graded = evaluate.grades_of(folder)
    assert len(graded) == facts["n"] == 5
    assert facts["accuracy"] == sum(one.score for one in graded) / 5
    assert facts["groups"]["level"] == {str(one.group["level"]): one.score for one in graded}
    ((weights, requests, sampling_params),) = asked
    assert weights == Weights(stage.inputs["generations"].inputs["base"].address, None)
    assert (sampling_params.max_tokens, sampling_params.temperature, sampling_params.n) == (16, 0.0, 1)
    assert {request.prefill for request in requests} == {()}


def test_gsm8k_is_prefilled_graded_by_level_and_a_reward(small, tmp_path, store, perform, publish):
    rows, problems = tmp_path / "rows.jsonl", tmp_path / "problems.jsonl"
    numbers = [{"question": f"{i} + 0 ?", "answer": f"It stays.\n#### {i}", "level": 1 + i % 2} for i in range(7)]
    rows.write_text("".join(json.dumps(row) + "\n" for row in numbers[:6]))
    problems.write_text(json.dumps(numbers[6]) + "\n")
    plan = build_plan(
        small(
            f"benchmarks={{gsm: {{kind: gsm8k, source: {rows}, n: 6}}}}",
            f"rl_problems={{kind: gsm8k, source: {problems}, n: 1, max_tokens: 8}}",
            "conditions={off-model: , prefill: {tokens: 1, benchmarks: [gsm]}}",
            "conditions.best={kind: best_of, n: 2, samples: 4, benchmarks: [gsm]}",
            "conditions.most={kind: best_of, n: 4, samples: 4, select: majority, benchmarks: [gsm]}",
            "recoveries={rl: {kind: grpo, conditions: [off-model], budgets: [1]}}",
        )
    )

    def say(engine, weights, what, requests, params):
        for i, request in enumerate(requests):
            number = request.prompt[-1]["content"].partition(" ")[0]
            texts = [f"<think>9</think> It is ${number}.00." if k < int(number) else "9" for k in range(params.n)]
            completions = tuple(Completion(token_ids=(1, 2), text=text, truncated=False) for text in texts)
            yield [(i, RequestOutput(completions=completions, template_digest="digest"))]

    for one in plan.stages:
        if one.kind in ("model", "train"):
            publish(store, one, {})

    def graded(condition: str) -> dict[str, float]:
        stage = next(t for t in plan.trials if t.condition == condition).points[0].scores["gsm"]
        sampled = stage.inputs["generations"]
        if store.record(sampled) is None:  # Conditions may share it.
            if "prefill" in sampled.inputs:
                perform(sample.run, sampled.inputs["prefill"], say)
            perform(sample.run, sampled, say)
        facts, _ = perform(evaluate.run, stage, nobody)
        assert facts["groups"].keys() == {"level"}
        return facts["groups"]["level"]

    # Of numbers 0 to 5 as many of the samples are right.
    assert graded("prefill") == pytest.approx({"1": 2 / 3, "2": 1})
    assert graded("best") == pytest.approx({"1": (0 + 5 / 6 + 1) / 3, "2": (0.5 + 1 + 1) / 3})
    assert graded("most") == pytest.approx({"1": 2 / 3, "2": 2 / 3})
    trained = next(s for s in plan.stages if s.kind == "train" and s.settings.sampling is not None)
    reward = rewarding(StageContext(trained, store, tmp_path, nobody))
    completions = tuple(Completion(text=text, truncated=False) for text in ("not 5 but 6", "6 or 5", "six"))
    assert reward([0], [RequestOutput(completions=completions)]) == [[1.0, 0.0, 0.0]]


def nobody(*_: object):
    raise AssertionError("grading asks no model")


def test_a_prefilled_answer_begins_with_the_original_students_tokens(plan, store, perform, publish):
    stage = next(t for t in plan.trials if t.condition == "prefill").points[0].scores["maths"].inputs["generations"]
    asked = []
    publish(store, stage.inputs["base"], {})
    publish(store, stage.inputs["student"], {})
    perform(sample.run, stage.inputs["prefill"])
    perform(sample.run, stage, remembering(asked))
    ((weights, requests, _),) = asked
    assert weights == Weights(stage.inputs["base"].address, stage.inputs["student"].address)
    assert [request.prefill for request in requests] == [(10, 11)] * 5


def test_an_answer_begun_by_another_model_is_begun_with_its_text(small, store, perform, publish):
    plan = build_plan(
        small("conditions={prefill: {from_model: words, tokens: 2, benchmarks: [maths]}}", "recoveries={}")
    )
    stage = plan.trials[0].points[0].scores["maths"].inputs["generations"]
    asked = []
    publish(store, stage.inputs["base"], {})
    publish(store, stage.inputs["student"], {})
    perform(model.run, stage.inputs["prefill"].inputs["base"])
    perform(sample.run, stage.inputs["prefill"])
    perform(sample.run, stage, remembering(asked))
    prefills = {request.prefill for request in asked[0][1]}
    assert prefills == {Tokenizer.from_file(str(shipped.FOLDER / "words" / "tokenizer.json")).decode([10, 11])}


def test_likelihoods_are_summed_by_class_of_token(small, store, perform):
    plan = build_plan(small("measures.perplexity=true"))
    stage = next(s for s in plan.stages if s.kind == "logprobs")
    perform(model.run, stage.inputs["base"])
    _, data = perform(sample.run, stage.inputs["data"])
    facts, folder = perform(logprobs.run, stage)
    learnt = len(rows_of(data))  # answers that were cut off teach nothing, and are no training data
    assert 0 < learnt < 20
    assert facts == {"n": learnt, "nll": {"all": 2.0, "reasoning": 1.5, "answer": 3.0}}
    rows = logprobs.logprobs_of(folder)
    assert rows[0].logprob == {"all": -6.0, "reasoning": -3.0, "answer": -3.0}
    assert rows[0].tokens == {"all": 3, "reasoning": 2, "answer": 1}


def test_completions_that_failed_have_no_likelihood(small, store, perform, publish):
    plan = build_plan(small("measures.kl=[maths]", "resources.max_failed=0.2"))
    stage = next(s for s in plan.stages if s.kind == "logprobs" and s.settings.by == "ids")

    def crashing(*arguments):
        for ((i, output),) in ask(*arguments):
            lost = Completion(text="", truncated=False, error="the engine crashed")
            yield [(i, output if i else replace(output, completions=(lost,)))]

    for role in ("base", "student"):
        publish(store, stage.inputs[role], {})
    facts, data = perform(sample.run, stage.inputs["data"], crashing)
    assert (facts["n"], facts["failed"], facts["template"]) == (5, 1, "digest")
    facts, folder = perform(logprobs.run, stage)
    ids = [one.id for one in sample.generations_of(data)]
    assert [row.id for row in logprobs.logprobs_of(folder)] == ids[1:]


@pytest.mark.slow
def test_a_task_of_lm_eval_is_asked_and_grades_itself(small, store, perform, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in benchmark_rows("math500", 6, 0)))
    asked = []
    plan = build_plan(
        small(
            f"benchmarks.task={{kind: 'lm_eval:hendrycks_math500', source: {rows}, n: 4, samples: 2, temperature: 0.5, "
            "max_tokens: 64}",
            "max_model_len=512",
        )
    )
    stage = plan.trials[0].untrained_scores["task"]
    perform(model.run, stage.inputs["generations"].inputs["base"])
    facts, folder = perform(sample.run, stage.inputs["generations"], remembering(asked, by_ids))
    assert (facts["n"], facts["metric"]) == (4, {"hendrycks_math500": "exact_match,none"})
    graded, _ = perform(evaluate.run, stage, nobody)
    answered = sample.generations_of(folder)
    gold = [row["answer"] for row in map(json.loads, rows.read_text().splitlines())]
    assert {tuple(completion.text for completion in one.completions) for one in answered} == {("$4$", "$4$")}
    assert graded["accuracy"] in [n / 4 for n in range(1 + gold.count("4"))]
    assert graded["figures"]["exact_match,none"] == graded["accuracy"]
    assert graded["groups"] == {"task": {"hendrycks_math500": graded["accuracy"]}}
    ((weights, requests, sampling_params),) = asked
    assert weights == Weights(stage.inputs["generations"].inputs["base"].address, None)
    assert len(requests) == 4
    assert sampling_params.stop
    assert (sampling_params.n, sampling_params.temperature, sampling_params.max_tokens) == (2, 0.5, 64)
    assert (facts["tokens"], graded["samples"]) == (8, 2)


def by_ids(engine, weights, what, requests, params):
    """Answers prompts of token ids with 4, between dollars as this task wants it."""
    yield [
        (
            i,
            RequestOutput(
                prompt_token_ids=tuple(r.prompt),
                completions=(Completion(token_ids=(10,), text="$4$", truncated=False),) * params.n,
            ),
        )
        for i, r in enumerate(requests)
    ]


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_student_generates_from_its_checkpoint_or_its_adapter(small, store, tmp_path, tuning):
    plan = build_plan(small(f"train.tuning={tuning}"))
    stage = next(t for t in plan.trials if t.condition == "off-model").points[0].scores["maths"].inputs["generations"]
    student, base = stage.inputs["student"].address, stage.inputs["base"].address
    expected = Weights(student, None) if tuning == "full" else Weights(base, student)
    assert StageContext(stage, store, tmp_path, ask).weights == expected


def test_a_stage_is_not_run_before_its_inputs(plan, store, publish, tmp_path):
    stage = next(t for t in plan.trials if t.condition == "off-model").points[0].scores["maths"].inputs["generations"]
    publish(store, stage.inputs["base"], {})
    with pytest.raises(AssertionError, match="before its input student was done"):
        StageContext(stage, store, tmp_path, ask).folder("student")
