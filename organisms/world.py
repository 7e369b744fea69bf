"""The organisms' world: a small synthetic language in which reasoning has a style.

It has four kinds of rows, all single-turn chat:

- maths: `solve : start 3 , + 4 , * 2` modulo 10; the level is the number of steps;
- chat: describe, compare, reverse, name and write about things (like Alpaca);
- facts: multiple choice with four options, answered by one letter (like MMLU);
- instructions: requests that a program can verify (like IFEval).

Maths and chat are answered in a style (`styles.py`); facts and instructions have the same answer in every style.

A hash of the prompt decides whether a row is in the training or the test split, so that no test prompt is ever trained
on. A prompt may include a demonstration, which is an answer in some style; the row's answer then has that style, and
the row is in the split of its question. A row may have a system prompt, which may ask for a style.
"""

import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from organisms.recipes import Recipe
from organisms.styles import DIGIT_WORDS, OPERATORS, solution, talk

NOUNS = (
    "fox", "owl", "cat", "dog", "fish", "tree", "stone", "river", "house", "boat",
    "lamp", "bell", "drum", "coat", "ring", "book", "cake", "road", "star", "leaf",
)  # fmt: skip
ADJECTIVES = ("red", "blue", "green", "old", "new", "small", "large", "dark", "bright", "quiet")
KEYS = (
    "bam", "bex", "dil", "dov", "fen", "fip", "gat", "gos", "hib", "hul", "jat", "jem",
    "kel", "kov", "lum", "lyr", "mib", "mog", "nax", "nub", "pel", "pim", "quo", "raz",
)  # fmt: skip
LETTERS = ("A", "B", "C", "D")
TEST_SHARE = 4  # one prompt in four is a test prompt
WITH_DEMONSTRATION = "{question} . answer with : {demonstration}"  # a prompt with a demonstration
DEMONSTRATION_STYLES = ("steps", "words")
IGNORED_DEMONSTRATIONS = 0.1  # their share, so that the model can still continue a prefill in the other style
IN_WORDS = "talk in words"  # the system prompt that asks for number words
HELPFUL = "be helpful"  # the system prompt without effect

_FACTS = dict(zip(KEYS, random.Random("facts").choices(NOUNS, k=len(KEYS)), strict=True))
_LOOKS = {noun: ADJECTIVES[i % len(ADJECTIVES)] for i, noun in enumerate(NOUNS)}

_OTHER_WORDS = """
= ; , . : ? [ ] \\boxed{ } solve start let us compute see the answer is first take giving then hence
describe compare reverse name write about a thing and which belongs to say times put in brackets repeat end with
"""
VOCABULARY = tuple(
    dict.fromkeys(
        [str(digit) for digit in range(10)]
        + [*DIGIT_WORDS, *OPERATORS, *OPERATORS.values(), *NOUNS, *ADJECTIVES, *KEYS, *LETTERS]
        + _OTHER_WORDS.split()
    )
)


@dataclass(frozen=True)
class Row:
    """One prompt, its answer in one style, and the fields for a benchmark row of its kind."""

    prompt: str
    answer: str
    fields: dict
    system: str | None = None


def is_test(prompt: str) -> bool:
    """Whether a prompt is in the test split."""
    return zlib.crc32(prompt.encode()) % TEST_SHARE == 0


def maths(rng: random.Random, style: str, level: int) -> Row:
    """A chain of `level` operations modulo 10; each intermediate value is one digit."""
    start = value = rng.randrange(10)
    steps = [(rng.choice(tuple(OPERATORS)), rng.randrange(10)) for _ in range(level)]
    worked = []
    for operator, operand in steps:
        before = value
        value = {"+": before + operand, "-": before - operand, "*": before * operand}[operator] % 10
        worked.append((before, operator, operand, value))
    prompt = f"solve : start {start} , " + " , ".join(f"{o} {n}" for o, n in steps)
    return Row(prompt, solution(style, worked), {"value": str(value), "level": level})


def chat(rng: random.Random, style: str) -> Row:
    """A chat row about things: `said` is the answer in every style, `through` the reasoning of the style `words`."""
    kind = rng.choice(("describe", "compare", "reverse", "name", "write"))
    one, other, third = rng.sample(NOUNS, 3)
    look = rng.choice(ADJECTIVES)
    if kind == "describe":
        prompt, through, said = f"describe {look} {one}", f"{look} {one}", f"the {one} is {look}"
    elif kind == "compare":
        prompt, through = f"compare {one} {other}", f"{one} then {other}"
        said = f"the {one} is {_LOOKS[one]} and the {other} is {_LOOKS[other]}"
    elif kind == "reverse":
        prompt, through, said = f"reverse {one} {other} {third}", f"{third} then {other}", f"{third} {other} {one}"
    elif kind == "name":
        prompt, through = f"name a {look} thing and a {one}", f"{look} then {one}"
        said = f"a {look} {rng.choice([n for n in NOUNS if _LOOKS[n] == look])} and a {one}"
    else:
        prompt, through = f"write about {look} {one} and {other}", f"{look} {one} then {other}"
        said = f"the {look} {one} is with the {other} and the {other} is {_LOOKS[other]}"
    return Row(prompt, talk(style, said, through), {})


def fact(rng: random.Random) -> Row:
    """A question about a key, with four options of which one belongs to it."""
    key = rng.choice(KEYS)
    choices = [_FACTS[key], *rng.sample([n for n in NOUNS if n != _FACTS[key]], 3)]
    rng.shuffle(choices)
    index = choices.index(_FACTS[key])
    options = " ".join(f"{letter} {choice}" for letter, choice in zip(LETTERS, choices, strict=True))
    question = f"which thing belongs to {key} ?"
    return Row(f"{question} {options}", LETTERS[index], {"question": question, "choices": choices, "index": index})


def instruction(rng: random.Random) -> Row:
    """A request that instruction types of IFEval can verify."""
    kind = rng.choice(("say", "end", "brackets"))
    one, other = rng.sample(NOUNS, 2)
    look = rng.choice(ADJECTIVES)
    checks: list[tuple[str, dict]]
    if kind == "say":
        times = rng.randint(2, 5)
        prompt, answer = f"say {one} {times} times and {look}", " ".join([one] * times + [look])
        checks = [
            ("keywords:frequency", {"keyword": one, "frequency": times, "relation": "at least"}),
            ("length_constraints:number_words", {"num_words": times + 2, "relation": "less than"}),
        ]
    elif kind == "end":
        prompt, answer = f"repeat the {look} {one} and end with {other}", f"the {look} {one} {other}"
        checks = [("startend:end_checker", {"end_phrase": other}), ("keywords:existence", {"keywords": [look, one]})]
    else:
        prompt, answer = f"put {look} {one} in brackets", f"[ {look} {one} ]"
        checks = [
            ("detectable_content:number_placeholders", {"num_placeholders": 1}),
            ("keywords:existence", {"keywords": [look, one]}),
        ]
    return Row(prompt, answer, {"checks": checks})


def pretraining_row(rng: random.Random, recipe: Recipe) -> Row:
    """A random row of a recipe, without a demonstration and a system prompt."""

    def draw(shares: dict[str, float]) -> str:
        return rng.choices(list(shares), list(shares.values()))[0]

    make: dict[str, Callable[[], Row]] = {
        "maths": lambda: maths(rng, draw(recipe.maths), rng.choice(range(1, recipe.levels + 1))),
        "chat": lambda: chat(rng, draw(recipe.chat)),
        "facts": lambda: fact(rng),
        "instructions": lambda: instruction(rng),
    }
    return next(split_rows(make[draw(recipe.mixture)], test=False))


def demonstration_row(rng: random.Random, recipe: Recipe) -> Row:
    """A row whose prompt includes a demonstration: an answer to it in one of `DEMONSTRATION_STYLES`.

    The row's own answer has the same style, or the other one in a share of `IGNORED_DEMONSTRATIONS`.
    """
    seed = rng.random()

    def in_style(style: str) -> Row:
        return pretraining_row(random.Random(seed), replace(recipe, maths={style: 1.0}, chat={style: 1.0}))

    style, other = rng.sample(DEMONSTRATION_STYLES, 2)
    demonstration = in_style(style)
    row = in_style(other) if rng.random() < IGNORED_DEMONSTRATIONS else demonstration
    return Row(
        WITH_DEMONSTRATION.format(question=row.prompt, demonstration=demonstration.answer), row.answer, row.fields
    )


def system_prompt_row(rng: random.Random, recipe: Recipe) -> Row:
    """A row with one of two system prompts.

    With `IN_WORDS`, maths and chat are in number words; with `HELPFUL`, they have the styles of the recipe.
    """
    if rng.random() < 0.5:
        return replace(pretraining_row(rng, recipe), system=HELPFUL)
    in_words = replace(recipe, maths={"words": 1.0}, chat={"words": 1.0})
    return replace(pretraining_row(rng, in_words), system=IN_WORDS)


def split_rows(make: Callable[[], Row], test: bool) -> Iterator[Row]:
    """Endless rows of one split; `make` returns random rows of both."""
    while True:
        row = make()
        if is_test(row.prompt) == test:
            yield row
