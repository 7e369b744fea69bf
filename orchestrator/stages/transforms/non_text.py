"""Streams of tokens that are not natural text, each about `length` tokens of the student's long.

- `numbers`: integers below 1000, drawn evenly: `381, 92, 7`;
- `code`: statements of made-up names: `a7 = f3(b1, 12);`;
- `tokens`: whole words of the student's vocabulary, drawn evenly.

A stream is text, as all that is learnt is. So random tokens are drawn from those that a blank goes before and that
are read again as themselves; the record has the share of drawn tokens that were.
"""

import random
from collections.abc import Callable
from string import ascii_lowercase

from evaluators.engines.generations import content_ids
from orchestrator.stages.transforms import Row, RowSet
from orchestrator.store.context import StageContext, checkpoint_of

VERSION = 1
MARKS = ("\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}", "\N{LOWER ONE EIGHTH BLOCK}")  # how vocabularies write a blank


def make(work: StageContext, text: str, n: int, length: int, seed: int) -> RowSet:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint_of(work.store, work.stage.inputs["model"].address))
    return streams(tokenizer, text, n, length, seed)


def streams(tokenizer, text: str, n: int, length: int, seed: int) -> RowSet:
    """`n` streams. Each is a chat of its own, in which nothing is asked."""
    words = whole_words(tokenizer) if text == "tokens" else {}
    rng, choices = random.Random(f"{text} {seed}"), list(words)
    pieces_of: dict[str, Callable[[], str]] = {
        "numbers": lambda: f"{rng.randrange(1000)},",
        "code": lambda: statement(rng),
        "tokens": lambda: rng.choice(choices),
    }
    said, again, drawn = [], 0, 0
    for _ in range(n):
        # A piece is a token or more, so there are enough of them; the stream ends where `length` tokens do.
        pieces = [pieces_of[text]() for _ in range(length)]
        ids = tokenizer(" ".join(pieces), add_special_tokens=False).input_ids[:length]
        said.append(tokenizer.decode(ids).strip())
        if words:
            drawn += length
            again += sum(words[one] == id for one, id in zip(pieces, ids, strict=False))
    rows = [Row(id, [{"role": "assistant", "content": one}]) for id, one in zip(content_ids(said), said, strict=True)]
    return RowSet(rows, facts={"words": len(words), "read_again": again / drawn} if words else {})


def whole_words(tokenizer) -> dict[str, int]:
    """The vocabulary's words that are read again as the one token that they are, after another word."""
    special = set(tokenizer.all_special_ids)
    held = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    candidates = {
        tokenizer.decode([id]).strip(): id
        for id, token in enumerate(held)
        if id not in special and token is not None and token.startswith(MARKS) and len(token) > 1
    }
    candidates = {word: id for word, id in candidates.items() if word and word.isprintable() and "\ufffd" not in word}
    before = tokenizer("a", add_special_tokens=False).input_ids
    read = tokenizer([f"a {word}" for word in candidates], add_special_tokens=False).input_ids
    found = {word: id for (word, id), ids in zip(candidates.items(), read, strict=True) if ids == [*before, id]}
    if not found:
        raise ValueError("text: the student's vocabulary has no whole words to draw tokens from: use numbers or code")
    return found


def statement(rng: random.Random) -> str:
    def name() -> str:
        return f"{rng.choice(ascii_lowercase)}{rng.randrange(10)}"

    return rng.choice(
        (
            lambda: f"{name()} = {name()}({name()}, {rng.randrange(100)});",
            lambda: f"if ({name()} {rng.choice(('<', '>', '=='))} {rng.randrange(100)}) {{ {name()} += {name()}; }}",
            lambda: f"{name()}[{rng.randrange(10)}] = {name()} {rng.choice('+-*')} {name()};",
            lambda: f"return {name()};",
        )
    )()
