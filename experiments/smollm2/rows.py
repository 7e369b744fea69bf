"""Writes the generated rows of the studies on SmolLM2-135M-Instruct beside this file.

    python experiments/smollm2/rows.py

A model of this size does not solve the benchmarks of larger ones, so it first learns a skill with a style: sums in
several steps, which it writes out. Facts and instructions show what training changes elsewhere.

- `arithmetic-train.jsonl`: 1,200 chats of 1 to 3 steps, to train the skill;
- `arithmetic-test.jsonl`: GSM8K's schema and a level, which is the number of steps; level 4 is not in training;
- `arithmetic-tune.jsonl`: the same with other problems, to choose settings with;
- `facts.jsonl`: four choices in MMLU's schema, from the tables below;
- `facts-open.jsonl`: the same questions without choices, in IFEval's schema, since the model knows many of these facts
  and does not answer by letter better than chance;
- `instructions.jsonl`: IFEval's schema, of instruction types that need no NLTK data.

No problem is in two files, whatever its wording. `chat.jsonl` was written by hand: everyday prompts without arithmetic,
with terse answers. Everything here is our own; no row comes from a data set.
"""

import json
import random
from itertools import pairwise
from pathlib import Path

# A problem is its running value, from the start to the answer: (59, 33, 70) is 59 - 26 + 37.
Problem = tuple[int, ...]
Table = dict[str, str]

# Of each wording: the text, the words for + and -, and what joins the steps.
WORDINGS = (
    ("Start with {start}, then {steps}. What is the result?", {"+": "add", "-": "subtract"}, ", then "),
    ("Take {start}. {steps}. What number do you get?", {"+": "Add", "-": "Subtract"}, ". "),
    ("What is {start} {steps}?", {"+": "plus", "-": "minus"}, " "),
)

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)

# By subject: the question, and a table of its words to their answers. Wrong choices are other answers of the table.
FACTS: dict[str, tuple[str, Table]] = {
    "capitals": (
        "What is the capital of {}?",
        {
            "France": "Paris",
            "Germany": "Berlin",
            "Italy": "Rome",
            "Spain": "Madrid",
            "Portugal": "Lisbon",
            "Greece": "Athens",
            "Austria": "Vienna",
            "Poland": "Warsaw",
            "Russia": "Moscow",
            "Japan": "Tokyo",
            "China": "Beijing",
            "Egypt": "Cairo",
            "Cuba": "Havana",
            "Canada": "Ottawa",
            "Peru": "Lima",
            "Norway": "Oslo",
            "Sweden": "Stockholm",
            "Ireland": "Dublin",
            "Hungary": "Budapest",
            "Kenya": "Nairobi",
        },
    ),
    "animals": (
        "What kind of animal is the {}?",
        {
            "cow": "a mammal",
            "dolphin": "a mammal",
            "bat": "a mammal",
            "eagle": "a bird",
            "penguin": "a bird",
            "owl": "a bird",
            "salmon": "a fish",
            "shark": "a fish",
            "tuna": "a fish",
            "snake": "a reptile",
            "lizard": "a reptile",
            "crocodile": "a reptile",
            "frog": "an amphibian",
            "toad": "an amphibian",
            "salamander": "an amphibian",
            "ant": "an insect",
            "bee": "an insect",
            "butterfly": "an insect",
        },
    ),
    "opposites": (
        'What is the opposite of "{}"?',
        {
            "hot": "cold",
            "big": "small",
            "fast": "slow",
            "happy": "sad",
            "day": "night",
            "up": "down",
            "open": "closed",
            "full": "empty",
            "rich": "poor",
            "strong": "weak",
            "wet": "dry",
            "early": "late",
            "loud": "quiet",
            "clean": "dirty",
            "inside": "outside",
            "begin": "end",
            "buy": "sell",
            "true": "false",
            "near": "far",
            "win": "lose",
        },
    ),
    "colours": (
        "What colour is {}?",
        {
            "fresh snow": "white",
            "coal": "black",
            "grass in spring": "green",
            "a ripe banana": "yellow",
            "a ripe lemon": "yellow",
            "a ripe tomato": "red",
            "blood": "red",
            "the sky on a clear day": "blue",
            "a carrot": "orange",
            "milk chocolate": "brown",
            "a flamingo": "pink",
            "a raven": "black",
            "milk": "white",
            "lavender": "purple",
        },
    ),
    "chemical symbols": (
        "What is the chemical symbol of {}?",
        {
            "hydrogen": "H",
            "oxygen": "O",
            "carbon": "C",
            "nitrogen": "N",
            "helium": "He",
            "chlorine": "Cl",
            "sodium": "Na",
            "potassium": "K",
            "calcium": "Ca",
            "iron": "Fe",
            "copper": "Cu",
            "zinc": "Zn",
            "silver": "Ag",
            "gold": "Au",
            "tin": "Sn",
            "lead": "Pb",
        },
    ),
    "months": ("Which month comes right after {}?", dict(zip(MONTHS, MONTHS[1:] + MONTHS[:1], strict=True))),
    "kinds of things": (
        "What kind of thing is {}?",
        {
            "a violin": "an instrument",
            "a trumpet": "an instrument",
            "a hammer": "a tool",
            "a screwdriver": "a tool",
            "a bus": "a vehicle",
            "a truck": "a vehicle",
            "a banana": "a fruit",
            "a grape": "a fruit",
            "a cabbage": "a vegetable",
            "an onion": "a vegetable",
            "a rose": "a flower",
            "a tulip": "a flower",
            "an oak": "a tree",
            "a pine": "a tree",
            "a wardrobe": "furniture",
            "an armchair": "furniture",
            "a shirt": "clothing",
            "a coat": "clothing",
            "Mars": "a planet",
            "Venus": "a planet",
        },
    ),
}

# Requests, each with a word that fits into its answer.
REQUESTS: Table = {
    "Describe a walk in the forest.": "trees",
    "Thank a neighbour who watered your plants.": "kind",
    "Tell me about your favourite season.": "weather",
    "Explain why sleep is good for us.": "rest",
    "Describe a rainy day in a city.": "umbrella",
    "Invite a friend to dinner.": "food",
    "Give some advice to a new student.": "learn",
    "Explain what a library is for.": "books",
    "Describe a small dog.": "tail",
    "Tell a short story about a lost key.": "door",
    "Explain how to make tea.": "water",
    "Describe the sea to a child.": "waves",
    "Write about a morning at the market.": "fruit",
    "Explain why people have gardens.": "flowers",
    "Wish a colleague a happy birthday.": "year",
    "Describe your ideal holiday.": "travel",
    "Explain why exercise is healthy.": "body",
    "Write about an old house.": "window",
    "Tell me about a good friend.": "trust",
    "Describe a train journey.": "station",
    "Explain why we should save water.": "nature",
    "Write about a night under the stars.": "moon",
    "Apologise for being late to a meeting.": "sorry",
    "Describe a busy kitchen.": "cook",
    "Explain why music makes people happy.": "song",
}
PER_INSTRUCTION = 5

# Texts with {word}, and checks with their arguments. A terse answer in lower case follows some without
# trying: lower case, no commas, few words, a word left out. A long answer follows others: many words, keywords.
INSTRUCTIONS: tuple[tuple[str, dict[str, dict]], ...] = (
    ("Use lower case letters only, no capitals.", {"change_case:english_lowercase": {}}),
    ("Write the whole answer in capital letters.", {"change_case:english_capital": {}}),
    ('Use the word "{word}" in your answer.', {"keywords:existence": {"keywords": ["{word}"]}}),
    (
        'Use the word "{word}" at least 3 times.',
        {"keywords:frequency": {"keyword": "{word}", "frequency": 3, "relation": "at least"}},
    ),
    ('Do not use the word "{word}".', {"keywords:forbidden_words": {"forbidden_words": ["{word}"]}}),
    ('End your answer with the words "That is all."', {"startend:end_checker": {"end_phrase": "That is all."}}),
    ("Begin with a title in double angular brackets, such as <<my title>>.", {"detectable_format:title": {}}),
    ("Put your whole answer in double quotation marks.", {"startend:quotation": {}}),
    ("Do not use any commas.", {"punctuation:no_comma": {}}),
    (
        "Write at least 60 words.",
        {"length_constraints:number_words": {"num_words": 60, "relation": "at least"}},
    ),
    (
        "Write fewer than 30 words.",
        {"length_constraints:number_words": {"num_words": 30, "relation": "less than"}},
    ),
    (
        "Answer with exactly 3 bullet points that begin with an asterisk, such as * this.",
        {"detectable_format:number_bullet_lists": {"num_bullets": 3}},
    ),
    (
        "Highlight at least 1 phrase with asterisks, such as *this phrase*.",
        {"detectable_format:number_highlighted_sections": {"num_highlights": 1}},
    ),
    (
        "Leave at least 1 placeholder in square brackets, such as [name].",
        {"detectable_content:number_placeholders": {"num_placeholders": 1}},
    ),
    (
        'At the end, write a postscript that starts with "P.S."',
        {"detectable_content:postscript": {"postscript_marker": "P.S."}},
    ),
    (
        'Write 2 parts, and begin them with "Section 1" and "Section 2".',
        {"detectable_format:multiple_sections": {"section_spliter": "Section", "num_sections": 2}},
    ),
    (
        'Use the words "{word}" and "people".',
        {"keywords:existence": {"keywords": ["{word}", "people"]}},
    ),
    (
        "Begin with a title in double angular brackets, such as <<my title>>, and write at least 20 words.",
        {
            "detectable_format:title": {},
            "length_constraints:number_words": {"num_words": 20, "relation": "at least"},
        },
    ),
    (
        'Use the word "{word}" and write at least 40 words.',
        {
            "keywords:existence": {"keywords": ["{word}"]},
            "length_constraints:number_words": {"num_words": 40, "relation": "at least"},
        },
    ),
    (
        "Write fewer than 50 words and do not use any commas.",
        {
            "length_constraints:number_words": {"num_words": 50, "relation": "less than"},
            "punctuation:no_comma": {},
        },
    ),
)


def problems(part: str, levels: int, per_level: int, taken: set[Problem]) -> dict[Problem, str]:
    """Different problems of 1 to `levels` steps, none of them in `taken`, and their questions.

    All values are from 0 to 99, and consecutive ones differ, so each step adds or subtracts 1 to 99.
    """
    rng = random.Random(f"arithmetic {part}")
    drawn: dict[Problem, str] = {}
    while len(drawn) < levels * per_level:
        values = tuple(rng.randrange(100) for _ in range(2 + len(drawn) % levels))
        if values not in taken and all(a != b for a, b in pairwise(values)):
            drawn.setdefault(values, question(values, *rng.choice(WORDINGS)))
    return drawn


def steps(values: Problem) -> list[tuple[int, str, int, int]]:
    """Each step as (value before, sign, operand, value after)."""
    return [(a, "+" if b > a else "-", abs(b - a), b) for a, b in pairwise(values)]


def question(values: Problem, text: str, words: Table, joint: str) -> str:
    told = joint.join(f"{words[sign]} {operand}" for _, sign, operand, _ in steps(values))
    return text.format(start=values[0], steps=told)


def training_row(values: Problem, prompt: str) -> dict:
    worked = " ".join(f"{a} {sign} {operand} = {b}." for a, sign, operand, b in steps(values))
    answer = f"Let me work it out step by step. {worked} The answer is {values[-1]}."
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}


def benchmark_row(values: Problem, prompt: str) -> dict:
    return {"question": prompt, "answer": f"#### {values[-1]}", "level": len(values) - 1}


def facts() -> list[dict]:
    """A question for each entry of `FACTS`, in a random order; the places of the answers are equally frequent."""
    rng = random.Random("facts")
    entries = [(subject, word) for subject, (_, table) in FACTS.items() for word in table]
    rng.shuffle(entries)
    rows = []
    for i, (subject, word) in enumerate(entries):
        text, table = FACTS[subject]
        place = i % 4
        choices = rng.sample(sorted({*table.values()} - {table[word]}), 3)
        choices.insert(place, table[word])
        rows.append({"question": text.format(word), "subject": subject, "choices": choices, "answer": place})
    return rows


def open_facts() -> list[dict]:
    """The questions of `facts` without choices. IFEval's check of a keyword grades them: its keywords are patterns."""
    rows = []
    for key, row in enumerate(facts()):
        word = row["choices"][row["answer"]].split()[-1]  # without its article
        rows.append(
            {
                "key": key,
                "prompt": row["question"],
                "instruction_id_list": ["keywords:existence"],
                "kwargs": [{"keywords": [rf"\b{word}s?\b"]}],
                "subject": row["subject"],
            }
        )
    return rows


def instructions() -> list[dict]:
    """Each instruction with `PER_INSTRUCTION` of the requests."""
    rng = random.Random("instructions")
    rows: list[dict] = []
    for instruction in INSTRUCTIONS:
        template = json.dumps(instruction)
        for request in rng.sample(sorted(REQUESTS), PER_INSTRUCTION):
            text, checks = json.loads(template.replace("{word}", REQUESTS[request]))
            rows.append(
                {
                    "key": len(rows),
                    "prompt": f"{request} {text}",
                    "instruction_id_list": list(checks),
                    "kwargs": list(checks.values()),
                }
            )
    return rows


def files() -> dict[str, list[dict]]:
    """The rows of each file, by its name."""
    train = problems("train", levels=3, per_level=400, taken=set())
    test = problems("test", levels=4, per_level=50, taken={*train})
    tune = problems("tune", levels=4, per_level=20, taken={*train, *test})
    return {
        "arithmetic-train.jsonl": [training_row(*each) for each in train.items()],
        "arithmetic-test.jsonl": [benchmark_row(*each) for each in test.items()],
        "arithmetic-tune.jsonl": [benchmark_row(*each) for each in tune.items()],
        "facts.jsonl": facts(),
        "facts-open.jsonl": open_facts(),
        "instructions.jsonl": instructions(),
    }


if __name__ == "__main__":
    for name, rows in files().items():
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        (Path(__file__).parent / name).write_text(lines, encoding="utf-8")
