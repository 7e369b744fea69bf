"""Seeded fuzz of what users and models give: each input is used, or refused by a ValueError that says why."""

import io
import json
import random
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console
from transformers import AutoTokenizer

from evaluators.benchmarks import BENCHMARKS
from evaluators.engines.chat_template import encode
from evaluators.engines.thinking import strip_reasoning
from evaluators.evaluate import chats_of, check_rows
from evaluators.rows import read_rows
from orchestrator.plan.build import build_plan
from orchestrator.plan.overview import show_plan
from orchestrator.plan.state import state_of
from orchestrator.stages import data
from orchestrator.store.store import Store
from orchestrator.study.load import load_study
from organisms import shipped
from organisms.rows import benchmark_rows
from tests.conftest import SMALL
from trainers.tokenization import tokenize

SEEDS = range(1)  # more of them find more
SECONDS = 0.2  # for each test, about
# Of a name, a value or a text
NASTY = [
    *(
        "$\\foo$",
        "[/b]",
        "[bold]",
        "..",
        "../../x",
        "a/b",
        "<script>alert(1)</script>",
        "ä 🦊 \u202e",
        "x" * 200,
        "",
        " ",
    ),
    *("\x1b[31m", "\0", "\ud800", "{0}", "{x", "%s", "&amp;", "|", "*a", "&a", "!!int x", "#", "- -", "? x", "null"),
    *("<|end|>", "<s>", "</s>", "<think>", "</think>", "<unk>", "<0x0A>", "<|system|>", "\\boxed{", "\\", "'", '"'),
]
TEXTS = [one for one in NASTY if one != "\ud800"]  # Rows and answers of an API have no surrogates.
VALUES: list[Any] = [
    *(None, True, 0, -1, 10**20, 1e300, float("nan"), float("inf"), [], {}, [[]], {"a": {"b": [1]}}, [None], ["x"] * 4),
    *NASTY,
]


def holds(act: Callable[[], Any], given: str) -> None:
    """Success, or a ValueError whose message has a line for each mistake, none of them empty."""
    message = "used"
    try:
        act()
    except (UnicodeError, json.JSONDecodeError) as error:
        raise AssertionError(f"{given[:300]!r} raises {error!r}, which names no place") from error
    except ValueError as error:
        message = str(error)
    except Exception as error:
        raise AssertionError(f"{given[:300]!r} raises {error!r}") from error
    assert message.strip(), given[:300]
    assert max(map(len, message.splitlines())) < 2000, given[:300]


@pytest.fixture(params=SEEDS)
def rng(request):
    return random.Random(request.param)


def repeatedly(act: Callable[[], None], times: int) -> None:
    """Call `act` so many times, or fewer on a machine that is slow."""
    began = time.monotonic()
    for _ in range(times):
        act()
        if time.monotonic() - began > SECONDS:
            return


def quoted(value: Any) -> str:
    return json.dumps(value)  # JSON is YAML, and escapes what YAML refuses.


def mutated_yaml(rng: random.Random) -> bytes:
    """The small study with some of its words replaced, or broken as text."""
    text = SMALL
    for _ in range(rng.randint(1, 3)):
        word = rng.choice(re.findall(r"[\w.-]+", text))
        text = text.replace(word, rng.choice([quoted(rng.choice(VALUES)), rng.choice(NASTY)]), rng.choice([1, -1]))
    match rng.randrange(8):
        case 0:
            text += rng.choice(text.splitlines()) + "\n"
        case 1:
            text += f"extra: &a {'[' * rng.choice([3, 3000])}*a"
        case 2:
            text = text.replace("{", "&a {", 1).replace("[", "[*a, ", 1)
        case 3:
            at = rng.randrange(len(text))
            return text[:at].encode(errors="replace") + b"\xff\xfe" + text[at:].encode(errors="replace")
    return text.encode(errors="replace")


def test_study_files(rng, tmp_path):
    path = tmp_path / "study.yaml"

    def act() -> None:
        path.write_bytes(content := mutated_yaml(rng))
        holds(lambda: build_plan(load_study(path, [f"store={tmp_path}"])), content.decode(errors="replace"))

    repeatedly(act, 60)


def test_overrides(rng, small):
    keys = ("train.learning_rate", "sampling.max_tokens", "conditions", "seeds", "benchmarks.maths.prompt", "models.x")

    def act() -> None:
        override = f"{rng.choice(keys)}={rng.choice([quoted(rng.choice(VALUES)), rng.choice(NASTY)])}"
        holds(lambda: build_plan(small(override)), override)

    repeatedly(act, 60)


def mutated_line(rng: random.Random) -> bytes:
    row = {"instruction": rng.choice(VALUES), "x": rng.choice(VALUES)}
    line = json.dumps(row).encode()
    match rng.randrange(6):
        case 0:
            at = rng.randrange(len(line))
            return line[:at] + bytes([rng.randrange(256)]) + line[at + 1 :]
        case 1:
            return b'{"instruction": "' + b"x" * rng.choice([10, 5_000_000]) + b'"}'
        case 2:
            return b"[" * rng.choice([1, 100_000])
    return line


def test_jsonl_files(rng, tmp_path, small):
    path = tmp_path / "rows.jsonl"
    study = small(f"prompts.source={path}", "prompts.n=all", "recoveries={}")

    def act() -> None:
        lines = [mutated_line(rng) for _ in range(rng.randint(0, 3))]
        path.write_bytes(b"\n".join(lines))
        given = repr([line[:300] for line in lines])
        holds(lambda: read_rows(str(path)), given)
        holds(encode_all, given)

    def encode_all() -> None:
        for chat in data.read_prompts(data.prompt_data(study.prompts), str(path)):
            if len(chat[-1]["content"]) < 10_000:
                encode(TOKENIZER, chat)

    repeatedly(act, 60)


TOKENIZER = AutoTokenizer.from_pretrained(shipped.FOLDER / "steps")


@pytest.mark.parametrize("kind", list(BENCHMARKS))
def test_rows_of_benchmarks(kind, rng):
    module = BENCHMARKS.module(kind)
    try:
        rows = benchmark_rows(kind, 4, 0, test=True)
    except (ValueError, KeyError):
        rows = [{"key": 1, "prompt": "p", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}]

    def use(row: dict) -> None:
        check_rows(kind, [row])
        chats_of(kind, [row], None)
        module.grade(row, rng.choice(NASTY))

    def act() -> None:
        row = {**rng.choice(rows)}
        row[rng.choice(list(row))] = rng.choice([*VALUES, "x" * 5_000])
        holds(lambda: use(row), repr(row)[:300])

    repeatedly(act, 30)


TEMPLATES = [
    "{{ raise_exception('no') }}",
    "{{ messages[0].content + 1 }}",
    "{{ messages[9].content }}",
    "{% for m in messages %}{{ m.content.x.y }}{% endfor %}",
    "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
    "{{ 1 // 0 }}",
    "{% if %}",
    "{{ bos_token }}{{ bos_token }}",
    TOKENIZER.chat_template,
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_chat_templates_and_texts(template, rng):
    tokenizer = AutoTokenizer.from_pretrained(shipped.FOLDER / "steps")
    tokenizer.chat_template = template

    def act() -> None:
        user, answer = ("".join(rng.choices(TEXTS, k=rng.randint(0, 4))) for _ in range(2))
        chat = [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]
        holds(lambda: tokenize([chat], tokenizer, 4000), repr(chat))
        holds(lambda: tokenize([chat], tokenizer, 4000, "empty_reasoning"), repr(chat))
        strip_reasoning(answer, prompt_opens_think_block=False)

    repeatedly(act, 15)


def test_names_in_the_terminal(rng, tmp_path):
    path = tmp_path / "study.yaml"

    def act() -> None:
        name = "".join(rng.choices(NASTY, k=2))
        path.write_text(SMALL.replace("words", quoted(name)).replace("off-model", quoted(name), 1), errors="replace")

        def use() -> None:
            plan = build_plan(load_study(path, [f"store={tmp_path}"]))
            show_plan(Console(file=io.StringIO()), plan, state_of(plan, Store(str(tmp_path))), verbose=True)

        holds(use, name)

    repeatedly(act, 10)
