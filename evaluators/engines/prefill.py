"""Prefill: what a model is made to begin its answers with, cut from another model's answers to the same examples."""

from bisect import bisect_left
from collections.abc import Iterable
from typing import Protocol

from evaluators.engines.generations import Generation

HALF = "\N{REPLACEMENT CHARACTER}"  # what is decoded of a character of which the last bytes were cut away
PrefillText = str | tuple[int, ...]


class Decodes(Protocol):
    def decode(self, ids: Iterable[int]) -> str: ...


def prefills(
    answered: Iterable[Generation], tokens: int | None, until: str | None, tokenizer: Decodes, keep_ids: bool
) -> dict[str, PrefillText]:
    """By example, the first `tokens` of the first answer to it, or all up to and with the text `until`.

    An answer without `until` begins nothing. `tokenizer` is that of the answers; with `keep_ids` the openings are token
    ids, for a model with the same tokenizer, else text.
    """
    return {one.id: _opening(one, tokens, until, tokenizer, keep_ids) for one in answered}


def _opening(one: Generation, tokens: int | None, until: str | None, tokenizer: Decodes, keep_ids: bool) -> PrefillText:
    answer = one.completions[0]
    ids = answer.ids[:-1] if answer.ended else answer.ids  # Nobody goes on after the token that ends an answer.
    if until is not None:
        at = answer.text.find(until)
        if at < 0:
            return () if keep_ids else ""
        end = at + len(until)
        if not keep_ids:
            return answer.text[:end]
        tokens = 1 + bisect_left(range(len(ids)), end, key=lambda i: len(tokenizer.decode(ids[: i + 1])))
    return ids[:tokens] if keep_ids else tokenizer.decode(ids[:tokens]).rstrip(HALF)
