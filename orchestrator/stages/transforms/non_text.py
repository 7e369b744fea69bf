"""Streams of text that is not natural language, each about `length` of the student's tokens long.

With the input `like`, a stream is as long as an answer of that sample, with the token that ends it.

- `numbers`: integers below 1000, drawn uniformly: `381, 92, 7`;
- `code`: statements with random names: `a7 = f3(b1, 12);`;
- `tokens`: whole words of the student's vocabulary, drawn uniformly.

Input: `model`, the student, for its tokenizer. A stream is stored as text and tokenized again for training. So random
tokens are drawn from those that follow a blank and that tokenize to themselves. The record has the share that did, of
those after the first of a stream: without a blank before it, a byte-level tokenizer has other tokens for a word.
"""

import random
from collections.abc import Callable, Sequence
from string import ascii_lowercase

from evaluators.engines.generations import content_ids
from evaluators.imports import IMPORTS
from orchestrator.stages.transform import rows_of
from orchestrator.stages.transforms import Row, RowSet
from orchestrator.store.context import StageContext

VERSION = 1
BLANKS = ("\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}", "\N{LOWER ONE EIGHTH BLOCK}")  # a blank in a vocabulary


def apply(context: StageContext, text: str, n: int | None, length: int | None, seed: int) -> RowSet:
    checkpoint = context.checkpoint("model")
    with IMPORTS:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(checkpoint)  # It imports the classes of this tokenizer.
    if length is not None:
        assert n is not None, "a number of streams, or one for each answer"
        return streams(tokenizer, text, [length] * n, seed)
    answers = [row.answer for row in rows_of(context.folder("like"))[:n]]
    # The token that ends an answer is supervised. The first token of a stream is not: BOS, or one of its own.
    more = 1 if tokenizer("").input_ids else 2
    lengths = [len(tokenizer(answer, add_special_tokens=False).input_ids) + more for answer in answers]
    return streams(tokenizer, text, lengths, seed)


def streams(tokenizer, text: str, lengths: Sequence[int], seed: int) -> RowSet:
    """A stream of each length, in tokens; each is a row without a prompt."""
    words = whole_words(tokenizer) if text == "tokens" else {}
    rng, choices = random.Random(f"{text} {seed}"), list(words)
    pieces_of: dict[str, Callable[[], str]] = {
        "numbers": lambda: f"{rng.randrange(1000)},",
        "code": lambda: statement(rng),
        "tokens": lambda: rng.choice(choices),
    }
    texts, unchanged, drawn = [], 0, 0
    for length in lengths:
        # A piece is one token or more, so `length` pieces are enough.
        pieces = [pieces_of[text]() for _ in range(length)]
        ids = tokenizer(" ".join(pieces), add_special_tokens=False).input_ids[:length]
        texts.append(tokenizer.decode(ids).strip())
        if words:
            first = len(tokenizer(pieces[0], add_special_tokens=False).input_ids)
            after = list(zip(pieces[1:], ids[first:], strict=False))
            drawn += len(after)
            unchanged += sum(words[one] == id for one, id in after)
    ids = content_ids(texts)
    rows = [Row(id, [{"role": "assistant", "content": one}]) for id, one in zip(ids, texts, strict=True)]
    return RowSet(rows, facts={"words": len(words), "unchanged": unchanged / drawn} if words else {})


def whole_words(tokenizer) -> dict[str, int]:
    """Words of the vocabulary that, after another word, tokenize to their own single token; word to token id.

    Raises ValueError for a vocabulary without such words.
    """
    special = set(tokenizer.all_special_ids)
    vocabulary = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    candidates = {
        tokenizer.decode([id]).strip(): id
        for id, token in enumerate(vocabulary)
        if id not in special and token is not None and token.startswith(BLANKS) and len(token) > 1
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
