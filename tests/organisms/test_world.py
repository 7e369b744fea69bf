"""The organisms' world: rows, answers, and the training and test splits."""

import random
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import pytest

from evaluators.benchmarks import BENCHMARKS
from evaluators.engines.thinking import BEGIN, END, strip_reasoning
from evaluators.evaluate import chats_of
from evaluators.rows import check_columns, read_rows
from organisms import world
from organisms.recipes import RECIPES
from organisms.rows import BENCHMARK_ROWS, TEST_LEVELS, benchmark_rows, training_prompts
from organisms.styles import DIGIT_WORDS, STYLES

LEVELS = (8, 9, 10)


def computed(prompt: str) -> int:
    """The answer to a prompt such as `solve : start 3 , + 4 , * 2`, computed from the prompt alone."""
    first, *steps = prompt.removeprefix("solve : start ").split(" , ")
    value = int(first)
    for step in steps:
        operator, operand = step.split()
        value = {"+": value + int(operand), "-": value - int(operand), "*": value * int(operand)}[operator] % 10
    return value


def prompt_of(kind: str, row: dict) -> str:
    if kind == "mmlu":
        options = " ".join(f"{letter} {choice}" for letter, choice in zip("ABCD", row["choices"], strict=True))
        return f"{row['question']} {options}"
    return row[{"math500": "problem", "olympiadbench": "question", "ifeval": "prompt"}[kind]]


@pytest.mark.parametrize("kind", sorted(BENCHMARK_ROWS))
def test_no_benchmark_row_is_a_pretraining_row_or_a_training_prompt(kind):
    tested = {prompt_of(kind, row) for row in benchmark_rows(kind, 100, seed=0)}
    assert len(tested) == 100
    assert all(world.is_test(prompt) for prompt in tested)
    trained = {row["instruction"] for row in training_prompts(1000, seed=0)}
    rng = random.Random(0)
    recipes = RECIPES.values()
    pretrained = {world.pretraining_row(rng, replace(r, levels=7)).prompt for r in recipes for _ in range(1000)}
    assert not tested & (trained | pretrained)
    assert not any(world.is_test(prompt) for prompt in trained | pretrained)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kind", ["math500", "olympiadbench"])
def test_answers_to_maths_are_correct_in_every_style(kind, style):
    rng = random.Random(1)
    for level in range(1, 8):
        for _ in range(20):
            row = world.maths(rng, style, level)
            gold = {"answer": row.fields["value"], "final_answer": [row.fields["value"]], "is_multiple_answer": False}
            assert BENCHMARKS.module(kind).grade(gold, row.answer).correct
            assert computed(row.prompt) == int(row.fields["value"])
            assert row.prompt.count(" , ") == row.fields["level"] == level


@pytest.mark.parametrize("kind", ["math500", "olympiadbench"])
def test_gold_answers_to_maths_are_correct(kind):
    grade = BENCHMARKS.module(kind).grade
    for row in benchmark_rows(kind, 70, seed=3):
        value = computed(prompt_of(kind, row))
        assert grade(row, f"\\boxed{{ {value} }}").correct
        assert not grade(row, f"\\boxed{{ {(value + 1) % 10} }}").correct


def test_every_step_of_the_reasoning_is_correct():
    rng = random.Random(2)
    for _ in range(50):
        row = world.maths(rng, "steps", 4)
        steps = row.answer.removeprefix("let us compute . ").split(" . the answer")[0].split(" ; ")
        value = int(row.prompt.split()[3])
        for step in steps:
            start, operator, operand, equals, result = step.split()
            assert (int(start), equals) == (value, "=")
            value = int(result)
            assert value == computed(f"solve : start {start} , {operator} {operand}")
        assert row.answer.endswith(f" . the answer is \\boxed{{ {value} }}")


def test_number_words_spell_out_the_digits():
    for i in range(50):
        digits, words = (world.maths(random.Random(i), style, 3).answer for style in ("steps", "words"))
        reasoning = words.removeprefix("first take ").split(" hence ")[0]
        spelt = {**dict(zip(DIGIT_WORDS, "0123456789", strict=True)), "plus": "+", "minus": "-", "times": "*"}
        said = [spelt.get(word, {"giving": "=", "then": ";"}.get(word)) for word in reasoning.split()]
        assert " ".join(said) == digits.removeprefix("let us compute . ").split(" . the answer")[0]


def test_answers_to_facts_are_correct_and_each_key_has_one_thing():
    rng, things = random.Random(3), {}
    for _ in range(300):
        row = world.fact(rng)
        gold = {"choices": row.fields["choices"], "answer": row.fields["index"]}
        assert BENCHMARKS.module("mmlu").grade(gold, row.answer).correct
        assert len(set(row.fields["choices"])) == 4
        assert (
            things.setdefault(row.fields["question"], row.fields["choices"][row.fields["index"]])
            == (row.fields["choices"][row.fields["index"]])
        )
    assert len(things) == len(world.KEYS)


def test_answers_follow_their_instructions_and_no_others():
    rng = random.Random(4)
    rows = [world.instruction(rng) for _ in range(200)]
    for row, other in pairwise(rows):
        kinds, kwargs = zip(*row.fields["checks"], strict=True)
        gold = {"instruction_id_list": kinds, "kwargs": kwargs}
        assert BENCHMARKS.module("ifeval").grade(gold, row.answer).correct
        assert other.prompt == row.prompt or not BENCHMARKS.module("ifeval").grade(gold, other.answer).correct


@pytest.mark.parametrize("kind", sorted(BENCHMARK_ROWS))
def test_benchmark_rows_have_the_columns_of_the_real_data_sets(kind):
    rows = benchmark_rows(kind, 12, seed=1)
    check_columns(rows, BENCHMARKS.module(kind).COLUMNS, kind)
    assert len(chats_of(kind, rows, None)) == 12


def test_levels_of_maths_are_equally_frequent():
    levels = [row["level"] for row in benchmark_rows("math500", 25, seed=0)]
    assert {level: levels.count(level) for level in levels} == dict.fromkeys((1, 2, 3, 4, 5), 5)


def test_rows_depend_on_the_seed():
    for kind in BENCHMARK_ROWS:
        assert benchmark_rows(kind, 20, 1) == benchmark_rows(kind, 20, 1)
        assert benchmark_rows(kind, 20, 1) != benchmark_rows(kind, 20, 2)
    assert training_prompts(30, 1) == training_prompts(30, 1)
    assert training_prompts(30, 1) != training_prompts(30, 2)
    one, same = random.Random(5), random.Random(5)
    recipe = RECIPES["steps"]
    rows = [world.pretraining_row(one, recipe) for _ in range(30)]
    assert rows == [world.pretraining_row(same, recipe) for _ in range(30)]


def test_training_prompts_have_neither_maths_nor_facts():
    prompts = [row["instruction"] for row in training_prompts(500, seed=1)]
    assert len(prompts) == 500
    assert not any(prompt.startswith("solve") or "belongs to" in prompt for prompt in prompts)
    instructions = sum(prompt.split()[0] in ("say", "repeat", "put") for prompt in prompts)
    assert 0.15 < instructions / 500 < 0.35


def test_maths_replaces_a_share_of_the_training_prompts():
    mixed, plain = ([row["instruction"] for row in training_prompts(400, 1, share)] for share in (0.05, 0.0))
    assert plain == [row["instruction"] for row in training_prompts(400, 1)]
    maths = [i for i, prompt in enumerate(mixed) if prompt.startswith("solve")]
    assert len(maths) == len({mixed[i] for i in maths}) == 20
    assert maths[0] < 100 < 300 < maths[-1]
    assert [i for i in range(400) if mixed[i] != plain[i]] == maths
    assert not any(world.is_test(prompt) for prompt in mixed)
    assert {mixed[i].count(" , ") for i in maths} <= set(TEST_LEVELS)


def test_the_file_of_harder_problems_has_different_problems_of_the_test_split():
    """Equally many of each level: `benchmark_rows` is too easy to show that a model is better than `steps`."""
    rows = read_rows(str(Path(__file__).parents[2] / "experiments" / "levels-8-to-10.jsonl"))
    rng, made = random.Random("levels 0"), {}
    while len(made) < 150:
        level = LEVELS[len(made) % 3]
        row = next(world.split_rows(lambda level=level: world.maths(rng, "steps", level), test=True))
        made.setdefault(row.prompt, (row.answer, row.fields["value"], level))
    assert [(row["problem"], row["solution"], row["answer"], row["level"]) for row in rows] == [
        (prompt, *rest) for prompt, rest in made.items()
    ]
    check_columns(rows, BENCHMARKS.module("math500").COLUMNS, "the file")
    assert all(world.is_test(row["problem"]) and computed(row["problem"]) == int(row["answer"]) for row in rows)


def test_a_phrase_tells_the_style_of_a_chat():
    row = {"key": 0, "prompt": "", "instruction_id_list": ["keywords:existence"]}
    row["kwargs"] = [{"keywords": ["first take"]}]
    for style in STYLES:
        for seed in range(40):
            answer = world.chat(random.Random(seed), style).answer
            assert BENCHMARKS.module("ifeval").grade(row, answer).correct == (style == "words")


def test_too_many_different_rows_are_an_error():
    with pytest.raises(ValueError, match="no 400 different synthetic rows for math500: lower n"):
        benchmark_rows("math500", 400, seed=0)


def test_a_benchmark_without_synthetic_rows_is_an_error():
    with pytest.raises(ValueError, match="no synthetic rows for gsm8k, only for math500, mmlu"):
        benchmark_rows("gsm8k", 4, seed=0)


def test_a_style_changes_the_answer_and_not_the_prompt():
    rows = {style: [world.chat(random.Random(i), style) for i in range(40)] for style in STYLES}
    assert len({tuple(row.prompt for row in each) for each in rows.values()}) == 1
    assert all(len({rows[style][i].answer for style in STYLES}) == len(STYLES) for i in range(40))
    for made in (world.chat, lambda rng, style: world.maths(rng, style, 3)):
        words = {word for i in range(40) for style in STYLES for word in made(random.Random(i), style).answer.split()}
        assert words <= {*world.VOCABULARY, BEGIN, END}


def test_the_style_thinks_reasons_inside_a_think_block():
    for i in range(30):
        for made in (world.chat, lambda rng, style: world.maths(rng, style, 3)):
            steps, thinks = (made(random.Random(i), style).answer for style in ("steps", "thinks"))
            answer = strip_reasoning(thinks, prompt_opens_think_block=True)
            reasoning = thinks.removeprefix(f"{BEGIN} ").removesuffix(f" {END} {answer}")
            assert f"{reasoning} {answer}" == steps
            assert reasoning.startswith("let us ")


def demonstrations(n: int) -> list[tuple[str, str, str]]:
    """Question, demonstration and answer of rows with a demonstration."""
    rng, between = random.Random(7), world.WITH_DEMONSTRATION.format(question="|", demonstration="|").split("|")[1]
    rows = [world.demonstration_row(rng, RECIPES["steps"]) for _ in range(n)]
    return [(*row.prompt.split(between), row.answer) for row in rows]


def test_a_demonstration_answers_the_question_and_decides_the_style():
    first_words = dict(zip(("let us", "first take"), world.DEMONSTRATION_STYLES, strict=True))
    counts: dict[tuple[str, str], int] = {}
    for question, demonstration, answer in demonstrations(2000):
        style, own = (first_words.get(" ".join(text.split()[:2]), "bare") for text in (demonstration, answer))
        assert (style == own) == (demonstration == answer)
        counts[style, own] = counts.get((style, own), 0) + 1
        if question.startswith("solve"):
            assert BENCHMARKS.module("math500").grade({"answer": str(computed(question))}, demonstration).correct
    steps, words = (
        {own: n for (style, own), n in counts.items() if style == shown} for shown in world.DEMONSTRATION_STYLES
    )
    assert abs(sum(steps.values()) - sum(words.values())) < 150
    for each, other in ((steps, "words"), (words, "steps")):
        assert world.IGNORED_DEMONSTRATIONS / 2 < each[other] / sum(each.values()) < world.IGNORED_DEMONSTRATIONS * 2
    assert {own for style, own in counts if style == "bare"} == {"bare"}


def test_a_system_prompt_asks_for_number_words_in_maths_and_chat():
    rng, recipe = random.Random(8), replace(RECIPES["steps"], maths={"steps": 1.0}, chat={"steps": 1.0})
    rows = [world.system_prompt_row(rng, recipe) for _ in range(600)]
    kinds = {system: [row for row in rows if row.system == system] for system in (world.IN_WORDS, world.HELPFUL)}
    assert all(abs(len(each) - 300) < 50 for each in kinds.values())
    maths = {system: sum(row.prompt.startswith("solve") for row in each) for system, each in kinds.items()}
    assert min(maths.values()) > 100
    in_words = {system: sum("giving" in row.answer for row in each) for system, each in kinds.items()}
    assert in_words[world.HELPFUL] == 0 < in_words[world.IN_WORDS]
    assert not any("let us" in row.answer for row in kinds[world.IN_WORDS])
    assert not any(world.is_test(row.prompt) for row in rows)


def test_questions_with_demonstrations_are_not_in_the_test_split():
    for texts in demonstrations(300):
        assert not world.is_test(texts[0])
        assert {word for each in texts for word in each.split()} <= set(world.VOCABULARY)


def test_split_rows_yields_rows_of_one_split():
    numbers = random.Random(6)
    rows = {test: list(islice(world.split_rows(lambda: world.chat(numbers, "steps"), test), 50)) for test in (0, 1)}
    assert [{world.is_test(row.prompt) for row in rows[test]} for test in (0, 1)] == [{False}, {True}]
