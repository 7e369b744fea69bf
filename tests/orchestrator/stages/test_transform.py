"""Row transformations: the rows, the removed rows with their reasons, and that both are the same every time."""

import json
import os
import random
from collections import Counter

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from evaluators.analysis.logprobs import CompletionLogprobs
from evaluators.engines.generations import Generation, to_jsonl
from evaluators.engines.requests import Completion
from evaluators.evaluate import example_ids
from orchestrator.plan.build import build_plan
from orchestrator.run.stage_runner import KINDS
from orchestrator.stages import sample
from orchestrator.stages import transform as stages
from orchestrator.stages.logprobs import LOGPROBS
from orchestrator.stages.sample import GENERATIONS
from orchestrator.stages.transforms import Row
from orchestrator.stages.transforms.by_classifier import classify, problem_text
from orchestrator.stages.transforms.by_logprob import between_quantiles, kind_of
from orchestrator.stages.transforms.mixed import arranged
from orchestrator.stages.transforms.non_text import streams, whole_words
from orchestrator.stages.transforms.own_reasoning import combined
from orchestrator.stages.transforms.prompted import with_prompt
from orchestrator.store.context import StageContext
from orchestrator.store.store import Store
from organisms import shipped
from organisms.rows import benchmark_rows
from organisms.world import NOUNS
from trainers.tokenization import tokenize, tokenize_streams

STEPS = shipped.FOLDER / "steps"
ONE = ("pairs.teachers=[words]", "seeds=[1]", "recoveries={}")
PROBLEMS = "rl_problems={kind: math500, source: synthetic, n: 5, prompt: '{problem}', max_tokens: 8}"
PROMPTS = ["add 3 + 4", "tell of a fox", "name an owl", "how many legs has a cat", "write to me"]


def chat(prompt: str, answer: str, system: str | None = None) -> list[dict[str, str]]:
    first = [{"role": "system", "content": system}] if system else []
    return [*first, {"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def answered(voice: str, cut: tuple[int, ...] = (), texts: dict[int, str] | None = None) -> bytes:
    """A sample of the five prompts, as a file: `<voice> says <number>`, or `texts`, cut off at the places `cut`."""
    texts = texts or {}
    return to_jsonl(
        Generation(
            id=f"id{i}",
            prompt=chat(prompt, "")[:-1],
            prompt_token_ids=(1,),
            completions=(Completion(token_ids=(7,), text=texts.get(i, f"{voice} says {i}"), truncated=i in cut),),
        )
        for i, prompt in enumerate(PROMPTS)
    ).encode()


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "runs"))


@pytest.fixture
def made(small, store, publish):
    """Runs the `transform` stage of a condition on samples by role; returns facts, rows and removed rows."""

    def act(condition: str, *overrides: str, **samples: bytes):
        study = small(*ONE, f"conditions={{it: {condition}}}", *overrides)
        stage = build_plan(study).trials[0].points[0].student.inputs["data"]
        for role, content in samples.items():
            name = LOGPROBS if stage.inputs[role].kind == "logprobs" else GENERATIONS
            if store.record(stage.inputs[role]) is None:
                publish(store, stage.inputs[role], {name: content})
        if "model" in stage.inputs:
            publish(store, stage.inputs["model"], {file: (STEPS / file).read_bytes() for file in os.listdir(STEPS)})
        context = StageContext(stage, store, store.new_folder(stage, "one"), None)
        facts = KINDS["transform"].run(context)
        removed = [Row(**json.loads(line)) for line in (context.out / stages.REMOVED).read_text().splitlines()]
        return facts, stages.rows_of(context.out), removed

    return act


def test_rows_are_read_from_a_sample_or_a_transform(tmp_path):
    (tmp_path / GENERATIONS).write_bytes(answered("words", cut=(2,)))
    read = stages.rows_of(tmp_path)
    assert [(row.id, row.prompt[-1]["content"], row.answer) for row in read] == [
        (f"id{i}", PROMPTS[i], f"words says {i}") for i in (0, 1, 3, 4)
    ]
    (tmp_path / GENERATIONS).unlink()
    (tmp_path / stages.ROWS).write_text(to_jsonl(read))
    assert stages.rows_of(tmp_path) == read


def test_a_rule_removes_matching_prompts_and_stores_them(made):
    facts, kept, removed = made("{kind: without_maths}", data=answered("words", cut=(4,)))
    assert [row.id for row in kept] == ["id1", "id2"]
    assert [(row.id, row.reason) for row in removed] == [
        ("id0", "its prompt has '3 + 4'"),
        ("id3", "its prompt has 'how many'"),
    ]
    assert facts == {"n": 2, "removed": 2}
    with pytest.raises(ValueError, match=r"no row is left to train on, of 4 \(the first: its prompt has 'a'\)"):
        made("{kind: without_maths, rule: '[aeo]'}", data=answered("words"))


def test_halves_by_log_probability_add_up_to_all_rows(made):
    nll = {"id0": 2.0, "id1": 0.5, "id2": 3.0, "id3": 1.0}
    scored = to_jsonl(CompletionLogprobs(id, {"all": -4 * each}, {"all": 4}) for id, each in nll.items()).encode()
    samples = {"data": answered("words", texts={4: ""}), "logprobs": scored}
    facts, low, removed = made("{kind: perplexity_filter, quantiles: [0, 0.5]}", **samples)
    assert [row.id for row in low] == ["id1", "id3"]
    assert {row.id: row.reason for row in removed}["id4"] == "its answer is empty"
    assert facts == {"n": 2, "removed": 3, "nll_kept": 0.75, "nll_removed": 2.5}
    _, high, _ = made("{kind: perplexity_filter, quantiles: [0.5, 1]}", **samples)
    assert [row.id for row in high] == ["id0", "id2"], "rows keep their order"


@pytest.mark.parametrize("n", [1, 2, 7, 10, 11])
def test_parts_between_quantiles_are_disjoint_and_complete(n):
    nll = {str(i): random.Random(i).random() for i in range(n)}
    parts = [between_quantiles(nll, low / 4, (low + 1) / 4, dict.fromkeys(nll, "")) for low in range(4)]
    assert sorted(id for part in parts for id in part) == sorted(nll)


def test_parts_have_the_same_kinds_of_prompts_if_they_are_to():
    kinds = {f"{kind}{i}": kind for kind, n in (("say", 10), ("name", 30), ("rare", 1)) for i in range(n)}
    nll = {id: random.Random(id).random() + 9 * (kind == "say") for id, kind in kinds.items()}
    assert Counter(kinds[id] for id in between_quantiles(nll, 0, 0.5, dict.fromkeys(nll, "")))["say"] == 0
    low, high = (between_quantiles(nll, *part, kinds) for part in ((0, 0.5), (0.5, 1)))
    assert low | high == set(nll)
    for kind, n in (("say", 10), ("name", 30)):
        assert sum(kinds[id] == kind for id in low) == n / 2
        of_kind = [{nll[id] for id in part if kinds[id] == kind} for part in (low, high)]
        assert max(of_kind[0]) < min(of_kind[1])


def test_halves_are_matched_by_what_the_expression_finds(made):
    assert [kind_of(prompt, r"^\w+") for prompt in ("Name an owl", "name a fox", "42 ?")] == ["name", "name", "42"]
    assert kind_of("anything", None) == kind_of("?", r"^\w+") == ""
    nll = dict(zip(("id0", "id1", "id2", "id3", "id4"), (1.0, 2.0, 3.0, 8.0, 9.0), strict=True))
    scored = to_jsonl(CompletionLogprobs(id, {"all": -each}, {"all": 1}) for id, each in nll.items()).encode()
    _, rows, _ = made(
        "{kind: perplexity_filter, quantiles: [0, 0.4], match: '(n|h|wr)(?=a|ow|it)'}",
        data=answered("words"),
        logprobs=scored,
    )
    assert [row.id for row in rows] == ["id0", "id2"]


def test_the_classifier_finds_the_problems_among_training_prompts():
    known = [problem_text("math500", row) for row in benchmark_rows("math500", 60, 0)]
    hidden = [problem_text("math500", row) for row in benchmark_rows("math500", 40, 5)]
    hidden = [one for one in hidden if one not in known]
    talk = [f"tell me about the {a} {b}" for a in ("old", "new", "red", "dark") for b in NOUNS]
    scores, threshold = classify([*talk, *hidden], known, 0.95)
    removed = [score >= threshold for score in scores]
    assert sum(removed[: len(talk)]) <= 1
    assert sum(removed[len(talk) :]) >= 0.8 * len(hidden)
    assert classify([*talk, *hidden], known, 0.95) == (scores, threshold)
    _, stricter = classify([*talk, *hidden], known, 0.5)
    assert stricter > threshold
    with pytest.raises(ValueError, match="too few for a classifier"):
        classify(talk, known[:3], 0.95)


def test_problems_are_compared_without_the_instructions_around_them():
    assert problem_text("math500", {"problem": "1 + 1", "answer": "2"}) == "1 + 1"
    row = {"question": "what?", "choices": ["w", "x", "y", "z"], "answer": 0}
    assert problem_text("mmlu", row) == "what? w x y z"


def test_the_classifier_learns_from_a_benchmark_or_from_problems(made):
    facts, kept, removed = made("{kind: without_maths, like_benchmark: maths}", data=answered("words"))
    assert facts["n"] + facts["removed"] == 5
    assert 0 < facts["threshold"] < 1
    assert all(row.reason.startswith("its prompt scores 0.") for row in removed)
    again = made("{kind: without_maths, like_benchmark: rl_problems}", PROBLEMS, data=answered("words"))
    assert again[0]["n"] == facts["n"] == len(kept)


def test_the_students_reasoning_precedes_the_teachers_final_answer(made):
    own = {0: "<think>hm</think>\n\nfour", 1: "<think>never ends", 2: "a</think> b </think>no", 3: "<think>x</think>"}
    theirs = {0: "<think>I am words</think> seven", 2: "owl", 3: "<think>words", 4: "late"}
    facts, kept, removed = made(
        "{kind: own_reasoning}",
        data=answered("words", texts=theirs),
        reasoning=answered("own", texts=own),
    )
    assert [(row.id, row.answer) for row in kept] == [
        ("id0", "<think>hm</think>\n\nseven"),
        ("id2", "a</think> b </think>\n\nowl"),
    ]
    unended = "the student's reasoning did not end"
    assert [(row.id, row.reason) for row in removed] == [
        ("id1", unended),
        ("id3", "the teacher's answer has no text outside its reasoning"),
        ("id4", unended),
    ]
    assert facts == {"n": 2, "removed": 3}


def test_only_the_text_after_the_students_reasoning_is_supervised():
    tokenizer = AutoTokenizer.from_pretrained(STEPS)
    row = combined(
        Row("a", chat("describe red fox", "<think> hm </think> the fox is red")), "<think> see . </think> x", False
    )
    (tokens,) = tokenize([row.chat], tokenizer, 256, "after_reasoning")
    assert tokenizer.decode([tokens.ids[i] for i in tokens.supervised]).strip() == "the fox is red<|end|>"


def test_every_row_gets_the_system_message_and_the_prefix(made):
    facts, kept, _ = made("{kind: inoculation, when: training, system: be bad, prefix: 'now '}", data=answered("words"))
    assert facts == {"n": 5, "removed": 0}
    assert kept[1].chat == chat("now tell of a fox", "words says 1", "be bad")
    assert with_prompt(Row("a", chat("x", "y", "old")), None, "").chat == chat("x", "y")


def test_rephrased_answers_are_trained_on_under_the_original_prompt(made):
    reworded = [
        Generation(
            id=f"id{i}",
            prompt=chat(f"again : words says {i}", "")[:-1],
            prompt_token_ids=(1,),
            completions=(Completion(token_ids=(7,), text=f"anew {i}", truncated=False),),
        )
        for i in (1, 3)
    ]
    samples = {"data": to_jsonl(reworded).encode(), "prompts": answered("words")}
    _, kept, _ = made("{kind: on_model, rephrase: 'again : {answer}'}", "prompts.system=hi", **samples)
    assert [row.chat for row in kept] == [chat(PROMPTS[i], f"anew {i}", "hi") for i in (1, 3)]


def test_a_completion_is_rephrased_without_its_reasoning(small, store, publish):
    study = small(*ONE, "conditions={it: {kind: on_model, rephrase: 'q {prompt} a {answer} .'}}")
    stage = build_plan(study).trials[0].points[0].student.inputs["data"].inputs["data"]
    texts = {0: "<think>hm</think> seven", 1: "<think>hm", 2: ""}
    publish(store, stage.inputs["base"], {})
    publish(store, stage.inputs["generations"], {GENERATIONS: answered("own", (3,), texts)})
    context = StageContext(stage, store, store.new_folder(stage, "one"), None)
    ids, chats = sample._rephrased(context, stage.settings.prompts.template)
    assert (ids, [one[-1]["content"] for one in chats]) == (
        ["id0", "id4"],
        ["q add 3 + 4 a seven .", "q write to me a own says 4 ."],
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_mixed_rows_have_each_prompt_once(made, seed):
    samples = {"data": answered("words", cut=(0,)), "student": answered("own")}
    facts, kept, removed = made("{kind: mixed, share: 0.5}", f"seeds=[{seed}]", **samples)
    assert sorted(row.id for row in kept) == ["id1", "id2", "id3", "id4"]
    assert sum(row.answer.startswith("own") for row in kept) == facts["own"] == 2
    assert [(row.id, row.reason) for row in removed] == [("id0", "only one of the two models gave a whole answer")]
    assert all(row.answer.endswith(row.id[-1]) for row in kept)


def test_the_order_of_mixed_rows():
    own, theirs = ([Row(f"{voice}{i}", []) for i in range(n)] for voice, n in (("own", 4), ("t", 12)))

    def kinds(arrange: str, seed: int = 0) -> str:
        return "".join(row.id[0] for row in arranged(own, theirs, arrange, 2, seed))

    assert kinds("after") == "t" * 12 + "o" * 4
    assert kinds("interleaved") == "ttttoottttttoott"
    assert sorted(kinds("shuffled")) == sorted(kinds("after"))
    assert kinds("shuffled") == kinds("shuffled") != kinds("shuffled", 1)


@pytest.mark.parametrize("text", ["numbers", "code", "tokens"])
def test_streams_have_the_given_length_and_depend_on_the_seed_alone(text):
    tokenizer = AutoTokenizer.from_pretrained(STEPS)
    one, again, other = (streams(tokenizer, text, [16] * 20, seed) for seed in (0, 0, 1))
    assert one == again
    assert one.kept != other.kept
    read = tokenize_streams([row.chat for row in one.kept], tokenizer, 64)
    assert all(14 <= len(row.ids) <= 17 for row in read), "a blank at the end may be lost, or one at the start read"
    special = set(tokenizer.all_special_ids) | {tokenizer.unk_token_id}
    assert not any(set(row.ids[1:]) & special for row in read)
    assert len({row.id for row in one.kept}) == 20


def test_streams_like_the_teachers_have_as_many_supervised_tokens(made):
    tokenizer = AutoTokenizer.from_pretrained(STEPS)
    said = {0: "the fox is red .", 1: "let us see . the owl is with the cat .", 2: "", 3: "cut"}
    given = answered("words", cut=(3,), texts=said)
    _, rows, _ = made("{kind: non_text, text: tokens, like_teacher: true}", like=given)
    chats = [chat(PROMPTS[i], said.get(i, f"words says {i}")) for i in (0, 1, 2, 4)]
    learnt = [[len(row.supervised) for row in tokenize([one], tokenizer, 99)] for one in chats]
    streamed = [[len(row.supervised) for row in tokenize_streams([row.chat], tokenizer, 99)] for row in rows]
    assert streamed == learnt


def test_random_tokens_tokenize_to_themselves():
    tokenizer = AutoTokenizer.from_pretrained(STEPS)
    found = streams(tokenizer, "tokens", [16] * 50, 0)
    assert found.facts["unchanged"] == 1
    assert found.facts["words"] > 100
    drawn = {word for row in found.kept for word in row.answer.split()}
    assert len(drawn) > 0.9 * found.facts["words"], "drawn uniformly"


def test_random_tokens_are_also_counted_where_the_first_word_has_other_tokens():
    vocabulary = {"a": 0, "b": 1, "Ġ": 2, "Ġa": 3, "Ġab": 4}  # "ab" is two tokens without a blank before it
    plain = Tokenizer(models.BPE(vocabulary, [("Ġ", "a"), ("Ġa", "b")]))
    plain.pre_tokenizer, plain.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    found = streams(PreTrainedTokenizerFast(tokenizer_object=plain), "tokens", 20, 8, 0)
    assert found.facts == {"words": 2, "unchanged": 1}
    assert {row.answer.split()[0] for row in found.kept} == {"a", "ab"}


def test_a_word_that_tokenizes_to_other_tokens_is_not_drawn():
    pieces = [("<unk>", 0.0), ("▁", -9.0), ("▁a", -1.0), ("▁b", -1.0), ("b", -1.0), ("▁ab", -99.0), ("▁end", -1.0)]
    plain = Tokenizer(models.Unigram(pieces, unk_id=0))
    plain.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    plain.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>", eos_token="▁end")
    assert whole_words(tokenizer) == {"a": 2, "b": 3}


def solved(texts: list[list[str]], cut: tuple[int, ...] = ()) -> bytes:
    """Completions of the five problems, as a file: the texts of each; those of the problems at `cut` are truncated."""
    rows = benchmark_rows("math500", 5, 0, test=False)
    return to_jsonl(
        Generation(
            id=id,
            prompt=chat(row["problem"], "")[:-1],
            completions=tuple(
                Completion(text=text.format(row["answer"]), token_ids=(7,), truncated=i in cut) for text in texts[i]
            ),
        )
        for i, (id, row) in enumerate(zip(example_ids("math500", rows), rows, strict=True))
    ).encode()


RIGHT, WRONG = "so \\boxed{{{}}}", "so \\boxed{{{}99}}"


@pytest.mark.parametrize(("keep", "answers"), [("one", [1, 0, 1, 1, 0]), ("all", [2, 0, 1, 1, 0])])
def test_only_verified_completions_are_kept(made, keep, answers):
    texts = [[RIGHT, RIGHT], [WRONG, WRONG], [WRONG, RIGHT], [RIGHT, WRONG], [RIGHT, RIGHT]]
    condition = f"{{kind: verified, samples: 2, keep: {keep}}}"
    facts, kept, removed = made(condition, PROBLEMS, data=solved(texts, cut=(4,)))
    assert facts["n"] == sum(answers)
    assert (facts["problems"], facts["solved"]) == (5, 3)
    prompts = [row["problem"] for row in benchmark_rows("math500", 5, 0, test=False)]
    assert [sum(row.prompt[0]["content"] == prompt for row in kept) for prompt in prompts] == answers
    assert {row.reason for row in removed} >= {"not correct", "truncated or failed"}
    assert ("another completion of the problem is kept" in {row.reason for row in removed}) == (keep == "one")


def test_answers_lose_their_reasoning(made):
    texts = {0: "<think>so</think> yes", 1: "<think>no end", 2: "plain", 3: "<think>so</think>"}
    facts, kept, removed = made("{kind: off_model, reasoning: false}", data=answered("words", texts=texts))
    assert [row.answer for row in kept] == ["yes", "plain", "words says 4"]
    assert {row.id: row.reason for row in removed} == dict.fromkeys(["id1", "id3"], "nothing follows the reasoning")
    assert facts["removed"] == 2


def test_prompts_that_another_source_has_not_answered_are_removed(made):
    samples = {"data": answered("words"), "other": answered("terse", cut=(1, 3))}
    _, kept, removed = made("{kind: off_model, same_prompts_as: terse}", **samples)
    assert [row.answer for row in kept] == ["words says 0", "words says 2", "words says 4"]
    assert {row.reason for row in removed} == {"not answered by both"}
