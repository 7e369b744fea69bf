"""Prefill: completions are forced to begin with the start of another model's completion of the same example."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evaluators.engines.generations import Generation
from evaluators.engines.thinking import token_at

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # decoded from a character of which the last bytes are missing
PrefillText = str | tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Prefill:
    """The model whose completions are cut, and where: after `tokens` tokens, or after the text `until`.

    Exactly one of the two is given. A completion without the text `until` gives an empty prefill.
    """

    from_model: str
    tokens: int | None = None
    until: str | None = None

    def __post_init__(self) -> None:
        if (self.tokens is None) == (self.until is None):
            raise ValueError("prefill: give one of tokens and until")

    def cut(self, source: Generation, decode: Callable[[Sequence[int]], str], as_ids: bool) -> PrefillText:
        """The start of the first completion of `source`, whose token ids `decode` turns into text.

        With `as_ids` it is token ids, for a model with the same tokenizer; otherwise it is text.
        """
        completion = source.completions[0]
        ids = completion.token_ids[:-1] if completion.ends_with_stop_token else completion.token_ids
        tokens = self.tokens
        if self.until is not None:
            at = completion.text.find(self.until)
            if at < 0:
                return () if as_ids else ""
            end = at + len(self.until)
            if not as_ids:
                return completion.text[:end]
            tokens = 1 + token_at(ids, end - 1, decode)
        return ids[:tokens] if as_ids else decode(ids[:tokens]).rstrip(REPLACEMENT)


@dataclass(frozen=True, kw_only=True)
class PrefillShare:
    """The model whose completions are cut, and the share of their tokens, rounded down, that is kept."""

    from_model: str
    share: float

    def cut(self, source: Generation, decode: Callable[[Sequence[int]], str], as_ids: bool) -> PrefillText:
        """As `Prefill.cut`."""
        completion = source.completions[0]
        tokens = len(completion.token_ids) - completion.ends_with_stop_token
        return Prefill(from_model=self.from_model, tokens=int(self.share * tokens)).cut(source, decode, as_ids)


AnyPrefill = Prefill | PrefillShare  # two classes, so that the settings of the first identify what they always did
