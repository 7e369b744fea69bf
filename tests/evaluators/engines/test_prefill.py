"""What a model is made to begin its answers with."""

import pytest

from evaluators.engines.engine import Completion
from evaluators.engines.generations import Generation
from evaluators.engines.prefill import prefills

WORDS = ["", "let", "us", "see", ":", "four", ".", "<end>"]


class Words:
    """A tokenizer of whole words."""

    def decode(self, ids) -> str:
        return " ".join(WORDS[i] for i in ids if WORDS[i] != "<end>")


def asked(ids: tuple[int, ...], truncated: bool = False) -> list[Generation]:
    return [Generation("a", [], (9,), (), (Completion(ids, Words().decode(ids), truncated, ended=ids[-1] == 7),))]


FINISHED = (1, 2, 3, 4, 5, 6, 7)


@pytest.mark.parametrize(
    ("ids", "truncated", "how", "begun"),
    [
        (FINISHED, False, {"tokens": 2}, (1, 2)),
        (FINISHED, False, {"tokens": 99}, FINISHED[:-1]),  # nobody goes on after the token that ends an answer
        (FINISHED[:-1], True, {"tokens": 99}, FINISHED[:-1]),
        ((5,), False, {"tokens": 1}, (5,)),  # the one token that was asked for ends nothing
        (FINISHED, False, {"until": "see :"}, (1, 2, 3, 4)),
        (FINISHED, False, {"until": "se"}, (1, 2, 3)),  # whole tokens
        (FINISHED, False, {"until": "nowhere"}, ()),
    ],
)
def test_openings_are_token_ids_for_the_same_tokenizer_and_text_for_another(ids, truncated, how, begun):
    how = {"tokens": None, "until": None, **how}
    assert prefills(asked(ids, truncated), **how, tokenizer=Words(), keep_ids=True) == {"a": begun}
    as_text = prefills(asked(ids, truncated), **how, tokenizer=Words(), keep_ids=False)["a"]
    assert isinstance(as_text, str)
    assert Words().decode(begun).startswith(as_text)
    assert as_text or not begun
