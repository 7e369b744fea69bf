"""Control tokens: only the chat template writes them, never the text of a message.

A tokenizer makes the token that ends a turn of `<|im_end|>`, whoever wrote it. transformers' `split_special_tokens` is
no remedy: it also splits the template's own tokens, it leaves added tokens that are not special, such as `<think>`, and
a Unigram model finds the token among its pieces.

Here messages that contain the text of a control token get placeholders for it before the template is applied. Then the
tokens that the template wrote get names that no text contains, and the placeholders become text again. The result is
encoded by a copy of the tokenizer in which the control tokens have these names.
"""

import json
import re
import uuid
from collections.abc import Iterable
from functools import cached_property, lru_cache
from typing import Any

from evaluators.engines.thinking import BEGIN, END
from evaluators.imports import IMPORTS

SECRET = uuid.uuid4().hex  # of this process, so that no text contains a name or a placeholder
THINK_TAGS = (BEGIN, END)


class ControlTokens:
    """The control tokens of a tokenizer: its special tokens, and other added tokens that its chat template names.

    The tags of a reasoning block count as well, but in an assistant's message they stay tokens: models write them.
    """

    def __init__(self, tokenizer: Any, template: str):
        added = tokenizer.added_tokens_decoder.values()
        tokens = {one.content for one in added if one.special or (one.content.strip() and one.content in template)}
        tokens |= {one.content for one in added if one.content in THINK_TAGS}
        self._tokenizer = tokenizer
        self._names = {token: f"<{SECRET}.{i}>" for i, token in enumerate(sorted(tokens))}
        self._placeholders = {token: f"[{SECRET}.{i}]" for i, token in enumerate(sorted({*tokens, *THINK_TAGS}))}
        self._in_text = _any_of(self._placeholders)
        self._in_answer = _any_of(self._placeholders.keys() - set(THINK_TAGS))

    def with_placeholders(self, text: str, of_assistant: bool) -> str:
        """The text of a message with placeholders for its control tokens; the same text if it has none."""
        pattern = self._in_answer if of_assistant else self._in_text
        return pattern.sub(lambda found: self._placeholders[found[0]], text)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """The token ids of a text, in which placeholders are text, and control tokens are tokens."""
        named = self._written.sub(lambda found: self._meant[found[0]], text)
        return self._renamed.encode(named, add_special_tokens=add_special_tokens).ids

    @cached_property
    def _meant(self) -> dict[str, str]:
        return self._names | {placeholder: token for token, placeholder in self._placeholders.items()}

    @cached_property
    def _written(self) -> re.Pattern:
        return _any_of(self._meant)

    @cached_property
    def _renamed(self) -> Any:
        """A copy of the tokenizer in which control tokens have their names."""
        with IMPORTS:
            from tokenizers import Tokenizer

        data = json.loads(self._tokenizer.backend_tokenizer.to_str())
        data |= {"truncation": None, "padding": None}
        model = data["model"]
        if "merges" in model:  # None may make a control token of text.
            model["merges"] = [pair for pair in model["merges"] if "".join(pair) not in self._names]
        return Tokenizer.from_str(json.dumps(_renamed(data, self._names)))


@lru_cache(maxsize=16)
def control_tokens(tokenizer: Any, template: str) -> ControlTokens:
    """The control tokens of a tokenizer with this chat template."""
    return ControlTokens(tokenizer, template)


def _any_of(texts: Iterable[str]) -> re.Pattern:
    """Matches the longest of these texts, as tokenizers do; nothing if there are none."""
    return re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))) or "(?!)")


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """JSON with other names for these strings, keys included."""
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    if isinstance(value, dict):
        return {names.get(key, key): _renamed(item, names) for key, item in value.items()}
    return value
