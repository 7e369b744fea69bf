"""The start of another model's completion, as token ids and as text."""

import pytest

from evaluators.engines.generations import Generation
from evaluators.engines.prefill import Prefill, PrefillShare
from evaluators.engines.requests import Completion

WORDS = ["", "let", "us", "see", ":", "four", ".", "<end>"]


class Words:
    """A tokenizer of whole words."""

    def decode(self, ids) -> str:
        return " ".join(WORDS[i] for i in ids if WORDS[i] != "<end>")


def generation(ids: tuple[int, ...], truncated: bool = False) -> Generation:
    return Generation(
        id="a",
        prompt=[],
        prompt_token_ids=(9,),
        completions=(
            Completion(token_ids=ids, text=Words().decode(ids), truncated=truncated, ends_with_stop_token=ids[-1] == 7),
        ),
    )


FINISHED = (1, 2, 3, 4, 5, 6, 7)


@pytest.mark.parametrize(
    ("ids", "truncated", "prefill", "expected"),
    [
        (FINISHED, False, Prefill(from_model="m", tokens=2), (1, 2)),
        (FINISHED, False, Prefill(from_model="m", tokens=99), FINISHED[:-1]),  # without the stop token
        (FINISHED[:-1], True, Prefill(from_model="m", tokens=99), FINISHED[:-1]),
        ((5,), False, Prefill(from_model="m", tokens=1), (5,)),  # a single token without a stop token
        (FINISHED, False, Prefill(from_model="m", until="see :"), (1, 2, 3, 4)),
        (FINISHED, False, Prefill(from_model="m", until="se"), (1, 2, 3)),  # whole tokens
        (FINISHED, False, Prefill(from_model="m", until="nowhere"), ()),
        (FINISHED, False, PrefillShare(from_model="m", share=0.5), (1, 2, 3)),  # of six tokens and the stop token
        (FINISHED[:-1], True, PrefillShare(from_model="m", share=0.4), (1, 2)),
        ((5,), False, PrefillShare(from_model="m", share=0.5), ()),
    ],
)
def test_a_prefill_is_token_ids_for_the_same_tokenizer_and_text_for_another(ids, truncated, prefill, expected):
    source = generation(ids, truncated)
    assert prefill.cut(source, Words().decode, as_ids=True) == expected
    as_text = prefill.cut(source, Words().decode, as_ids=False)
    assert isinstance(as_text, str)
    assert Words().decode(expected).startswith(as_text)
    assert as_text or not expected


@pytest.mark.parametrize("options", [{}, {"tokens": 1, "until": "see"}])
def test_a_prefill_needs_exactly_one_of_tokens_and_until(options):
    with pytest.raises(ValueError, match="give one of tokens and until"):
        Prefill(from_model="m", **options)
